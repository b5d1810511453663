"""The outermost keys of user-data and the types of their values.

Sources: cloud-init's schema-cloud-config-v1.json (22.4 to 26.2), and nuageinit(7) of FreeBSD 15 with its source,
libexec/nuageinit/nuageinit.
"""

from __future__ import annotations

_TEXT, _FLAG, _NUMBER, _LIST, _TABLE = (str,), (bool,), (int,), (list,), (dict,)
_GROUPED: dict[tuple[type, ...], str] = {
    _TEXT: "authkey_hash byobu_by_default disable_root_opts final_message fqdn hostname locale locale_configfile "
    "password timezone yum_repo_dir",
    _FLAG: "allow_public_ssh_keys apt_reboot_if_required apt_update apt_upgrade create_hostname_file "
    "disable_ec2_metadata disable_root manage_resolv_conf no_ssh_fingerprints package_reboot_if_required "
    "package_update package_upgrade prefer_fqdn_over_hostname preserve_hostname ssh_deletekeys ssh_quiet_keygen",
    _NUMBER: "launch-index",
    _LIST: "bootcmd cloud_config_modules cloud_final_modules cloud_init_modules fs_setup mount_default_fields mounts "
    "packages runcmd ssh_authorized_keys ssh_fp_console_blacklist ssh_genkeytypes ssh_import_id "
    "ssh_key_console_blacklist write_files",
    _TABLE: "ansible apk_repos apt autoinstall ca-certs ca_certs chef chpasswd device_aliases disk_setup drivers fan "
    "growpart grub-dpkg grub_dpkg keyboard landscape lxd mcollective network ntp output phone_home power_state puppet "
    "random_seed reporting resolv_conf rh_subscription rsyslog salt_minion snap spacewalk ssh ssh_keys "
    "ssh_publish_hostkeys swap system_info ubuntu_advantage ubuntu_pro updates vendor_data wireguard yum_repos zypper",
    (str, bool): "manage_etc_hosts resize_rootfs ssh_pwauth apt_pipelining",
    (str, list): "merge_how merge_type",
    (str, list, dict): "groups users",
    (str, dict): "user",
}
# By key, the types that its value may have.
CLOUD_INIT_KEYS: dict[str, tuple[type, ...]] = {
    key: types for types, keys in _GROUPED.items() for key in keys.split()
}
NUAGEINIT_KEYS = frozenset(
    {
        "chpasswd", "fqdn", "groups", "hostname", "network", "package_update", "package_upgrade", "packages", "runcmd",
        "ssh_authorized_keys", "ssh_keys", "ssh_pwauth", "timezone", "users", "write_files",
    }
)  # fmt: skip
PLURAL = {str: "a text", bool: "true or false", int: "a number", list: "a list", dict: "a mapping"}
# Values that open a door, wherever they stand.
SECRET_KEYS = frozenset(
    {
        "passwd", "hashed_passwd", "hashed-passwd", "plain_text_passwd", "plain-text-passwd", "password", "token",
        "secret", "private_key", "key", "consumer_secret", "token_key", "token_secret", "auth_key", "validation_key",
    }
)  # fmt: skip
# What the guest runs and writes: there may be anything in it.
BODIES = ("write_files", "runcmd", "bootcmd", "chpasswd", "phone_home")
