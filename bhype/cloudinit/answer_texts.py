"""The built-in answers, by installer. The disk is the only one there is: the answers themselves come on a CD."""

from __future__ import annotations

TEXTS = {
    "autoinstall": """\
#cloud-config
autoinstall:
  version: 1
  locale: '${locale}'
  timezone: '${timezone}'
  identity:
    hostname: '${hostname}'
    username: '${user}'
    password: '${password_hash}'
  ssh:
    install-server: true
    allow-pw: ${allow_password}
    authorized-keys:${keys}
  storage:
    layout:
      name: direct
  network:${network}
  packages:${more_packages}
  late-commands:
    - "curtin in-target -- sh -c '${post}'"
  shutdown: reboot
""",
    "preseed": """\
d-i debconf/priority select critical
d-i debian-installer/locale string ${locale}
d-i keyboard-configuration/xkb-keymap select us
d-i netcfg/choose_interface select auto
d-i netcfg/get_hostname string ${hostname}
d-i netcfg/hostname string ${hostname}
${network}
d-i mirror/country string manual
d-i mirror/http/proxy string
d-i time/zone string ${timezone}
d-i clock-setup/utc boolean true
d-i passwd/root-login boolean false
d-i passwd/user-fullname string ${user}
d-i passwd/username string ${user}
d-i passwd/user-password-crypted password ${password_hash}
d-i partman-auto/method string regular
d-i partman-auto/choose_recipe select atomic
d-i partman-partitioning/confirm_write_new_label boolean true
d-i partman/choose_partition select finish
d-i partman/confirm boolean true
d-i partman/confirm_nooverwrite boolean true
d-i apt-setup/cdrom/set-first boolean false
tasksel tasksel/first multiselect standard, ssh-server
d-i pkgsel/include string sudo ${packages}
popularity-contest popularity-contest/participate boolean false
d-i grub-installer/only_debian boolean true
d-i grub-installer/bootdev string default
d-i preseed/late_command string in-target sh -c '${post}'
d-i finish-install/reboot_in_progress note
""",
    "kickstart": """\
text
lang ${locale}
keyboard us
timezone ${timezone} --utc
${network}
rootpw --lock
user --name=${user} --groups=wheel --iscrypted --password=${password_hash}
${keys}
zerombr
clearpart --all --initlabel
autopart --type=plain
bootloader --append="console=tty0 console=ttyS0"
firstboot --disable
services --enabled=sshd
reboot
%packages
@core
sudo
${more_packages}
%end
%post
${post}
%end
""",
    "installerconfig": """\
PARTITIONS=DEFAULT
DISTRIBUTIONS="kernel.txz base.txz"
export nonInteractive="YES"
#!/bin/sh
sysrc hostname="${fqdn}"
${network}
sysrc sshd_enable="YES" growfs_enable="YES"
tzsetup -s ${timezone} || true
echo '${password_hash}' | pw useradd -n ${user} -m -G wheel -s /bin/sh -H 0
for package in ${packages}; do env ASSUME_ALWAYS_YES=yes pkg install "$$package"; done
${post}
""",
    "autounattend": """\
<?xml version="1.0" encoding="utf-8"?>
<unattend xmlns="urn:schemas-microsoft-com:unattend" xmlns:wcm="http://schemas.microsoft.com/WMIConfig/2002/State">
 <settings pass="windowsPE">
  <component name="Microsoft-Windows-International-Core-WinPE" processorArchitecture="amd64" publicKeyToken="31bf3856ad364e35" language="neutral" versionScope="nonSxS">
   <SetupUILanguage><UILanguage>en-US</UILanguage></SetupUILanguage>
   <InputLocale>en-US</InputLocale><SystemLocale>en-US</SystemLocale><UILanguage>en-US</UILanguage><UserLocale>en-US</UserLocale>
  </component>
  <component name="Microsoft-Windows-Setup" processorArchitecture="amd64" publicKeyToken="31bf3856ad364e35" language="neutral" versionScope="nonSxS">
   <DiskConfiguration>
    <Disk wcm:action="add"><DiskID>0</DiskID><WillWipeDisk>true</WillWipeDisk>
     <CreatePartitions>
      <CreatePartition wcm:action="add"><Order>1</Order><Type>EFI</Type><Size>200</Size></CreatePartition>
      <CreatePartition wcm:action="add"><Order>2</Order><Type>MSR</Type><Size>16</Size></CreatePartition>
      <CreatePartition wcm:action="add"><Order>3</Order><Type>Primary</Type><Extend>true</Extend></CreatePartition>
     </CreatePartitions>
     <ModifyPartitions>
      <ModifyPartition wcm:action="add"><Order>1</Order><PartitionID>1</PartitionID><Format>FAT32</Format><Label>System</Label></ModifyPartition>
      <ModifyPartition wcm:action="add"><Order>2</Order><PartitionID>3</PartitionID><Format>NTFS</Format><Label>Windows</Label><Letter>C</Letter></ModifyPartition>
     </ModifyPartitions>
    </Disk>
   </DiskConfiguration>
   <ImageInstall><OSImage><InstallFrom><MetaData wcm:action="add"><Key>/IMAGE/INDEX</Key><Value>1</Value></MetaData></InstallFrom><InstallTo><DiskID>0</DiskID><PartitionID>3</PartitionID></InstallTo></OSImage></ImageInstall>
   <UserData><AcceptEula>true</AcceptEula><FullName>${user}</FullName></UserData>
  </component>
 </settings>
 <settings pass="specialize">
  <component name="Microsoft-Windows-Shell-Setup" processorArchitecture="amd64" publicKeyToken="31bf3856ad364e35" language="neutral" versionScope="nonSxS">
   <ComputerName>${computer}</ComputerName>
  </component>
 </settings>
 <settings pass="oobeSystem">
  <component name="Microsoft-Windows-Shell-Setup" processorArchitecture="amd64" publicKeyToken="31bf3856ad364e35" language="neutral" versionScope="nonSxS">
   <OOBE><HideEULAPage>true</HideEULAPage><HideOnlineAccountScreens>true</HideOnlineAccountScreens><HideWirelessSetupInOOBE>true</HideWirelessSetupInOOBE><ProtectYourPC>3</ProtectYourPC></OOBE>
   <UserAccounts><LocalAccounts><LocalAccount wcm:action="add"><Name>${user}</Name><Group>Administrators</Group></LocalAccount></LocalAccounts></UserAccounts>
   <FirstLogonCommands><SynchronousCommand wcm:action="add"><Order>1</Order><CommandLine>net user ${user} /logonpasswordchg:yes</CommandLine></SynchronousCommand></FirstLogonCommands>
  </component>
 </settings>
</unattend>
""",
}
