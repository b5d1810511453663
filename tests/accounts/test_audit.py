from __future__ import annotations

import csv
import io

from hypothesis import given, settings
from hypothesis import strategies as st

from bhype.accounts import audit
from bhype.accounts.models import ApiToken, AuditEntry


def test_secrets_are_hidden_wherever_they_lie():
    detail = {
        "password": "hunter2",
        "new_password": "hunter2",
        "user": {"token": "hunter2", "list": [{"ssh_key": "hunter2"}]},
        "Secret": "hunter2",
        "api_key": ["hunter2"],
        "code": "hunter2",
        "cookie": 12345,
        "name": "web1",
        "size": 5,
    }
    seen = audit.redact(detail)
    assert "hunter2" not in str(seen) and "12345" not in str(seen)
    assert seen["name"] == "web1" and seen["size"] == 5


def test_words_that_only_look_like_secrets_stay():
    detail = {"exit_code": 4, "passthru": "2/0/0", "has_password": True}
    assert audit.redact(detail) == detail


def test_an_api_token_is_hidden_in_any_text(alice):
    _, secret = ApiToken.objects.issue(alice, "t", "full", None)
    entry = audit.record(None, "x", f"file {secret}", {"text": f"curl -H 'Bearer {secret}'"})
    assert secret not in str(AuditEntry.objects.filter(pk=entry.pk).values())


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.text(), json_like))
def test_redacting_twice_is_redacting_once(detail):
    assert audit.redact(audit.redact(detail)) == audit.redact(detail)


def test_a_line_says_who_did_what_from_where(rf, alice):
    request = rf.post("/", REMOTE_ADDR="192.0.2.9", HTTP_X_FORWARDED_FOR="198.51.100.1")
    request.user = alice
    audit.record(request, "vm.start", "vm web1", {"why": "asked"}, task=12)
    row = AuditEntry.objects.get()
    assert (row.username, row.address, row.action, row.object, row.detail, row.task_id) == (
        "alice", "192.0.2.9", "vm.start", "vm web1", {"why": "asked"}, 12,
    )  # fmt: skip


def test_the_system_itself_is_nobody(db):
    assert audit.record(None, "start").username == ""


def fill(count: int) -> None:
    AuditEntry.objects.bulk_create(
        [
            AuditEntry(username="alice" if n % 2 else "bob", action="vm.start", object=f"vm web{n}")
            for n in range(count)
        ]
    )


def test_the_page_filters_and_pages(as_user, admin):
    fill(250)
    client = as_user(admin)
    first = client.get("/accounts/audit/")
    assert len(first.context["entries"]) == 100
    second = client.get(f"/accounts/audit/?before={first.context['older']}").context["entries"]
    assert len(second) == 100 and second[0].pk == first.context["entries"][-1].pk - 1
    assert {row.username for row in client.get("/accounts/audit/?user=bob").context["entries"]} == {"bob"}
    found = client.get("/accounts/audit/?object=web24&action=vm").context["entries"]
    assert [row.object for row in found] == [
        "vm web249",
        *[f"vm web24{n}" for n in range(8, -1, -1)],
        "vm web24",
    ]
    assert not client.get("/accounts/audit/?object=%25").context["entries"]
    assert client.get("/accounts/audit/?before=x&user=%00").status_code == 200


def test_the_page_costs_a_constant_number_of_queries(as_user, admin, django_assert_max_num_queries):
    fill(300)
    client = as_user(admin)
    with django_assert_max_num_queries(6):
        client.get("/accounts/audit/")


def test_the_export_is_the_filtered_log_and_no_formula(as_user, admin):
    fill(4)
    AuditEntry.objects.create(username="=cmd|' /C calc'!A0", action="x", object="@SUM(1)", detail={"a": 1})
    client = as_user(admin)
    answer = client.get("/accounts/audit.csv")
    assert answer["Content-Type"].startswith("text/csv") and "attachment" in answer["Content-Disposition"]
    rows = list(csv.reader(io.StringIO(answer.content.decode())))
    assert rows[0][0] == "number" and len(rows) == 6
    assert not any(cell.startswith(("=", "+", "-", "@")) for row in rows for cell in row)
    assert (
        len(
            list(csv.reader(io.StringIO(as_user(admin).get("/accounts/audit.csv?user=bob").content.decode())))
        )
        == 3
    )


def test_the_api_reads_the_log(as_user, admin):
    fill(5)
    rows = as_user(admin).get("/api/v1/audit?user=alice&limit=1").json()
    assert len(rows) == 1 and rows[0]["username"] == "alice"
    older = as_user(admin).get(f"/api/v1/audit?before={rows[0]['id']}").json()
    assert len(older) == 3


def test_the_log_escapes_what_people_typed(as_user, admin):
    AuditEntry.objects.create(username="<script>alert(1)</script>", action="x", detail={"<b>": "<i>"})
    page = as_user(admin).get("/accounts/audit/").content
    assert b"<script>alert" not in page and b"<i>" not in page
