"""What people search for, told over HTTP: counted once, whoever tells it where, and shown to nobody too early."""

import os
import pathlib
import secrets
import subprocess

import httpx
import pytest
from client import Account, poll
from conftest import ROOT


def tell(url, account, q, **fields):
    headers = {"Authorization": f"Bearer {account.token}"} if account else {}
    return httpx.post(f"{url}/v1/searches", json={"q": q, **fields}, headers=headers)


def counted(stack, query):
    """How often, and as what it is shown."""
    rows = stack.sql(f"SELECT locale, display, sum(count + held) FROM query_counts WHERE query = '{query}' "
                     "GROUP BY locale, display ORDER BY locale, display")
    return [tuple(row.split("|")) for row in rows.splitlines()]


def test_a_search_is_counted_in_its_list_by_its_normal_form(stack, urls):
    ann, word = Account(urls[0]), secrets.token_hex(6)
    told = [(f"{word} Straße", "de"), (f"{word} STRASSE", "de-DE"), (f"  {word}   strasse ", "de")]
    for number, (q, locale) in enumerate(told):
        assert tell(urls[number % 2], ann, q, locale=locale).status_code == 204
    assert tell(urls[0], ann, f"{word} strasse").status_code == 204
    expected = [
        ("de", f"{word} Straße", "1"), ("de", f"{word} strasse", "1"), ("de-DE", f"{word} STRASSE", "1"),
        ("default", f"{word} strasse", "1"),
    ]
    poll(lambda: counted(stack, f"{word} strasse") == expected)


def test_what_one_person_repeats_is_shown_to_nobody(stack, urls):
    word = secrets.token_hex(6)
    people = [Account(urls[number % 2]) for number in range(5)]
    for _ in range(10):
        assert tell(urls[0], people[0], word, locale="en").status_code == 204
    for person in people[1:4]:
        assert tell(urls[1], person, word, locale="en").status_code == 204
    poll(lambda: counted(stack, word) == [("en", word, "13")])
    is_open = f"SELECT count(*) FROM query_gate WHERE query = '{word}'"
    assert stack.sql(is_open) == "0"
    assert int(stack.redis("scard", f"gate:en:{word}")) == 4
    assert stack.redis("zscore", "trend:{en}", word) == ""
    assert tell(urls[0], people[4], word.upper(), locale="en").status_code == 204
    poll(lambda: stack.sql(is_open) == "1")
    poll(lambda: stack.redis("zscore", "trend:{en}", word))
    assert stack.redis("exists", f"gate:en:{word}") == "0"


def test_nothing_that_redis_keeps_of_searches_names_a_user(stack, urls):
    ann, word = Account(urls[0]), secrets.token_hex(6)
    assert tell(urls[0], ann, word, locale="en").status_code == 204
    poll(lambda: stack.redis("smembers", f"gate:en:{word}"))
    assert ann.id not in stack.redis("smembers", f"gate:en:{word}")
    for shard in range(4):
        assert ann.id not in stack.redis("xrange", f"searches:{{S{shard}}}", "-", "+")


BAD = [
    ({"q": ""}, 422), ({"q": "   "}, 422), ({"q": "\x01\x02"}, 422), ({"q": "x" * 513}, 422), ({}, 422),
    ({"q": "x" * 10_000}, 413), ({"q": 5}, 422), ({"q": "x", "locale": "nowhere-at-all!"}, 422),
    ({"q": "x", "locale": ""}, 422),
]


@pytest.mark.parametrize("number", range(len(BAD)))
def test_what_is_no_search_is_refused(urls, pair, number):
    body, status = BAD[number]
    answer = httpx.post(f"{urls[0]}/v1/searches", json=body, headers={"Authorization": f"Bearer {pair[0].token}"})
    assert answer.status_code == status, answer.text
    assert answer.json()["code"] == ("too_large" if status == 413 else "invalid")


def test_a_lone_surrogate_is_refused(urls, pair):
    answer = httpx.post(
        f"{urls[0]}/v1/searches", content=b'{"q":"\\ud800"}', headers={"Authorization": f"Bearer {pair[0].token}"}
    )
    assert answer.status_code in (400, 422), answer.text


def test_who_is_not_signed_in_tells_nothing(urls):
    assert tell(urls[0], None, "x").status_code == 401


def typeahead(stack, build, *arguments, status=0):
    """Runs parley typeahead on the stack's stores."""
    described = stack.json
    environment = {
        **os.environ, "PARLEY_POSTGRES_URL": described["postgres"]["url"],
        "PARLEY_REDIS_URL": f"redis://127.0.0.1:{described['redis']['port']}",
    }
    directory = ROOT / ".build" / build if build in ("debug", "release") else pathlib.Path(build)
    done = subprocess.run(
        [directory / "parley", "typeahead", *arguments], env=environment, capture_output=True, text=True, timeout=120,
        check=False,
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout.splitlines() if status == 0 else done.stderr


def test_a_word_is_blocked_at_every_gateway_before_the_command_ends(stack, build):
    word = secrets.token_hex(6)
    said = typeahead(stack, build, "block", word.upper(), "--reason", "a test", "--by", "ann")
    assert said[0].endswith(f'blocks the word "{word}" in all lists')
    assert said[1].startswith("in force at 2 gateways, the last after ")
    assert f'  the word "{word}" in all lists' in typeahead(stack, build, "rules", "--changes", "1")
    assert typeahead(stack, build, "block", word)[0].startswith("There is such a rule")
    assert typeahead(stack, build, "unblock", word)[1].startswith("in force at 2 gateways")
    assert "no kind of rule" in typeahead(stack, build, "block", word, "--kind", "odd", status=1)
    assert "no rule" in typeahead(stack, build, "block", "**", "--kind", "pattern", status=1)


def suggested(url, account, q, tag=None, **parameters):
    headers = {"Authorization": f"Bearer {account.token}"} | ({"If-None-Match": tag} if tag else {})
    answer = httpx.get(f"{url}/v1/suggest", params={"q": q, **parameters}, headers=headers)
    texts = [item["text"] for item in answer.json()["items"]] if answer.status_code == 200 else None
    return texts, answer.headers.get("etag")


def test_a_blocked_word_is_in_no_answer_when_the_command_ends(stack, build, urls, pair, tmp_path):
    locale, word = f"y{secrets.choice('abcdefgh')}{secrets.choice('abcdefgh')}", secrets.token_hex(6)
    base = tmp_path / "list.tsv"
    base.write_text(f"plain one\t9\t{locale}\nplain {word}\t5\t{locale}\n")
    typeahead(stack, build, "import", str(base))
    whole, rest = ["plain one", f"plain {word}"], ["plain one"]
    for url in urls:
        poll(lambda url=url: suggested(url, pair[0], "pla", locale=locale)[0] == whole)
    tags = [suggested(url, pair[0], "pla", locale=locale)[1] for url in urls]
    typeahead(stack, build, "block", word)
    for url, tag in zip(urls, tags):
        assert suggested(url, pair[0], "pla", tag=tag, locale=locale)[0] == rest, "no 304, and nothing from a cache"
    typeahead(stack, build, "unblock", word)
    for url in urls:
        assert suggested(url, pair[0], "pla", locale=locale)[0] == whole


def test_what_was_searched_for_is_explained_built_and_rolled_back(stack, build, urls, tmp_path):
    # A language of this test's own.
    locale, word = f"{secrets.choice('qrstuvwx')}{secrets.choice('abcdefgh')}{secrets.choice('abcdefgh')}", "quince"
    base = tmp_path / "list.tsv"
    base.write_text(f"quiet room\t50\t{locale}\nquilt\t40\t{locale}\n")
    typeahead(stack, build, "import", str(base))
    # What the import asked a worker for is done by then.
    typeahead(stack, build, "rebuild")
    people = [Account(urls[number % 2]) for number in range(5)]
    for person in people:
        assert tell(urls[0], person, f"{word} jam", locale=locale).status_code == 204
    assert tell(urls[0], people[0], f"{word} secret", locale=locale).status_code == 204
    poll(lambda: stack.sql(f"SELECT count(*) FROM query_gate WHERE locale = '{locale}'") == "1")
    poll(lambda: counted(stack, f"{word} secret") == [(locale, f"{word} secret", "1")])
    before = typeahead(stack, build, "explain", "qui", "--locale", locale)
    assert any(line.strip().startswith("quiet room  base 50.00") for line in before)
    assert any("secret" in line and "the gate: 1 users of 5" in line for line in before)
    assert any("generation " in line and line.startswith(f"{locale}: ") for line in typeahead(stack, build, "rebuild"))
    after = typeahead(stack, build, "explain", "qui", "--locale", locale)
    assert any(line.strip().startswith(f"{word} jam  base ") for line in after)
    assert any("secret" in line and "the gate" in line for line in after)
    assert any(line.startswith(f"list      {locale}: ") for line in typeahead(stack, build, "status"))
    assert any(line.startswith(f"{locale}: ") for line in typeahead(stack, build, "shards"))
    typeahead(stack, build, "rollback", locale)
    back = typeahead(stack, build, "explain", "qui", "--locale", locale)
    assert not any(line.strip().startswith(f"{word} jam  base ") for line in back)
    assert any("rests after a rollback" in line for line in typeahead(stack, build, "status"))
    typeahead(stack, build, "rebuild")
    assert "no list of" in typeahead(stack, build, "rollback", "zzz", status=1)
