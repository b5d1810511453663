"""Whoever dies while rules are applied: the host has the old rules or the new ones, and a way back."""

from __future__ import annotations

import contextlib

from bhype import commit
from network.models import Rule, Ruleset
from tests.labhost import ready  # noqa: F401
from tests.network.firewall.conftest import WEB, filtered, guest  # noqa: F401
from tests.network.firewall.test_loading import confirmed


class Killed(BaseException):
    """The worker is gone: nothing of it runs any more."""


def test_a_kill_at_each_step_leaves_the_old_rules_or_the_new_ones(filtered, monkeypatch):  # noqa: F811
    """The steps that change something: commands, files, and what commit does."""
    confirmed(filtered, Rule(subject=WEB, direction="in", action="block"))
    old = filtered.rules()
    Rule.objects.update(action="pass", ports="80", protocol="tcp")
    steps = 0
    while True:
        with monkeypatch.context() as patched:
            count = dying(patched, filtered, steps)
            with contextlib.suppress(Killed):
                filtered.do("network.apply_rules", seconds=300)
        is_over = count["left"] > 0
        now = filtered.rules()
        assert now == old or "port = http" in now
        change = commit.look(filtered.lab.host, "firewall")
        if now != old:
            # Then there is a way back, which somebody guards.
            assert change is not None and change.state == "waiting"
        filtered.lab.interrupt()
        if change is not None and not change.has_ended:
            commit.revert(filtered.lab.host, "firewall")
        assert filtered.do("network.ensure_firewall").status == "succeeded"
        assert filtered.rules() == old
        assert not Ruleset.objects.filter(state__in=["checking", "pending"]).exists()
        if is_over:
            break
        steps += 1
    assert steps > 5


def dying(patched, filtered, steps: int) -> dict[str, int]:  # noqa: F811
    """Die before the step number ``steps`` that changes the host."""
    from bhype.commit import changes
    from bhype.host import LocalHost

    count = {"left": steps + 1}

    def after(real):
        def step(self, *words, **options):
            argv = getattr(words[0], "argv", ())
            if argv and not ({"-f", "-T", "-k"} & {*argv}):
                return real(self, *words, **options)
            count["left"] -= 1
            if count["left"] == 0:
                raise Killed
            return real(self, *words, **options)

        return step

    for name in ("run", "write_text", "unlink"):
        patched.setattr(LocalHost, name, after(getattr(LocalHost, name)))
    # A worker that is killed tidies nothing up.
    patched.setattr(changes, "revert", lambda *_: None)
    return count
