"""What every page and fragment keeps to, whoever wrote it: strict HTML, the CSP, readable-off accessibility, htmx 4."""

from __future__ import annotations

import gzip
import re
from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit
from xml.etree.ElementTree import Element

import html5lib
import pytest
from flask import Flask

from models import Run, SkuOverride, StockWrite
from tests.conftest import ROOT, Browser
from tests.factories import Shop, make_organization, make_user
from tests.web.scenes import busy_shop

TEMPLATES = sorted((ROOT / "templates").rglob("*.html"))
HTMX_4_ATTRIBUTES = re.compile(
    r"hx-(get|post|put|patch|delete|trigger|target|swap|select|include|sync|indicator|confirm|disable|ignore|vals|headers"
    r"|push-url|replace-url|encoding|ptag|preserve|config|morph-skip|morph-skip-children|swap-oob|status:\S+)(:inherited|:append)*"
)
SWAPS = {"innerHTML", "outerHTML", "innerMorph", "outerMorph", "textContent", "before", "after", "prepend", "append",
         "delete", "none"}  # fmt: skip
LABELLED = ("input", "select", "textarea")


class Scene:
    """Signed-in browsers, and every address that answers a GET with HTML."""

    def __init__(self, app: Flask, login: Callable[..., Browser], shop: Shop | None = None) -> None:
        shop = shop or busy_shop()
        run = (
            Run.select()
            .where(Run.organization == shop.organization, Run.type == "cron")
            .order_by(Run.id.desc())
            .first()
        )
        self.ids = {
            "run_id": run.id,
            "account_id": shop.accounts["matriz"].id,
            "group_id": shop.group.id,
            "sku": "CAM-AZ-M",
            "write_id": StockWrite.get(StockWrite.evidence == "smaller_pool").id,
            "override_id": SkuOverride.create(
                organization=shop.organization, group=shop.group, sku="CAM-AZ-M", percent=Decimal(50)
            ).id,
        }
        reader = make_user(shop.organization, role="reader")
        newcomer = make_user(make_organization())
        self.browsers = {"owner": login(shop.owner), "reader": login(reader), "newcomer": login(newcomer)}
        self.app = app

    def addresses(self) -> Iterator[str]:
        with self.app.test_request_context():
            for rule in self.app.url_map.iter_rules():
                if "GET" in (rule.methods or ()) and rule.endpoint != "static" and rule.arguments <= set(self.ids):
                    yield self.app.url_for(rule.endpoint, **{name: self.ids[name] for name in rule.arguments})
        yield "/historico?q=camiseta&tipo=webhook&situacao=ok&conta=filial"
        yield "/historico?q=nada-disso"
        yield "/historico?antes=" + "0" * 32
        yield "/estoque?q=camiseta"
        yield "/estoque?q=nada-disso"
        yield "/estoque/KIT-CAFE?antes=" + "0" * 32
        for query in ("?q=camiseta", "?q=nada-disso", "?sku=CAM-AZ-M", "?sku=CANECA-01"):
            yield f"/regras/{self.ids['group_id']}/excecoes{query}"
        yield "/revisao?sku=CAM-AZ-M"
        yield "/revisao?sku=nada-disso"
        yield "/revisao?antes=" + "0" * 32
        yield "/nada"

    def answers(self) -> Iterator[tuple[str, str]]:
        """(who and where, HTML) of whole pages and of fragments."""
        for who, browser in self.browsers.items():
            for address in self.addresses():
                response = browser.get(address)
                if response.mimetype == "text/html" and response.text and response.status_code < 300:
                    yield f"{who} {address}", response.text


# Rendered once for all tests of this module: they only read.
_answers: list[tuple[str, str]] = []


@pytest.fixture
def answers(request: pytest.FixtureRequest) -> list[tuple[str, str]]:
    if not _answers:
        app = request.getfixturevalue("app")
        found = list(Scene(app, request.getfixturevalue("login")).answers())
        _answers.extend([*found, ("stranger /entrar", app.test_client().get("/entrar").text)])
    assert len(_answers) > 30
    return _answers


def elements(html: str) -> list[Element]:
    return list(parse(html).iter())


@cache
def parse(html: str) -> Element:
    parser = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False)
    return parser.parse(html) if is_page(html) else parser.parseFragment(html)


def is_page(html: str) -> bool:
    return html.lstrip().startswith("<!doctype")


def test_it_is_strict_html(answers: list[tuple[str, str]]) -> None:
    for where, html in answers:
        try:
            parse(html)
        except html5lib.html5parser.ParseError as error:
            pytest.fail(f"{where}: {error}")


def test_it_has_nothing_inline(answers: list[tuple[str, str]]) -> None:
    for where, html in answers:
        for element in elements(html):
            for name in element.attrib:
                assert name != "style", f"{where}: style on <{element.tag}>"
                assert not name.startswith("on"), f"{where}: {name}"
            assert element.tag != "style", where
            if element.tag == "script":
                assert element.get("src", "").startswith("/static/"), where
                assert not element.text, where


def test_it_speaks_htmx_4_only(answers: list[tuple[str, str]]) -> None:
    for where, html in answers:
        for element in elements(html):
            for name, value in element.attrib.items():
                if not name.startswith("hx-"):
                    continue
                assert HTMX_4_ATTRIBUTES.fullmatch(name), f"{where}: {name}"
                assert "js:" not in value, f"{where}: {name}={value}"
            trigger = element.get("hx-trigger", "")
            assert "[" not in trigger, f"{where}: a filter needs eval: {trigger}"
            assert not re.search(r"from:[^'\",]+ [^,]*\b(find|closest|body)", trigger), f"{where}: {trigger}"
            if swap := element.get("hx-swap"):
                assert swap.split()[0] in SWAPS, f"{where}: {swap}"


def test_what_htmx_does_works_without_it(answers: list[tuple[str, str]]) -> None:
    for where, html in answers:
        for element in elements(html):
            address = element.get("hx-get")
            if address is None or element.get("data-poll") is not None or element.tag == "summary":
                continue  # What is shown already, kept fresh; a <summary> unfolds by itself and holds the link.
            links = [part.get("href") or part.get("action") for part in element.iter() if part.tag in ("a", "form")]
            assert any(links), f"{where}: <{element.tag} hx-get={address}>"


def test_every_poll_can_be_answered_with_nothing(answers: list[tuple[str, str]]) -> None:
    for where, html in answers:
        for element in elements(html):
            if "every " in element.get("hx-trigger", ""):
                assert element.get("data-poll") is not None, f"{where}: a hidden tab would go on asking"
                assert element.get("id"), f"{where}: a poll without an id"


def test_every_id_is_there_once_and_every_reference_leads_somewhere(answers: list[tuple[str, str]]) -> None:
    for where, html in answers:
        found = elements(html)
        ids = Counter(element.get("id") for element in found if element.get("id"))
        assert not [name for name, count in ids.items() if count > 1], where
        if not is_page(html):
            continue
        for element in found:
            for attribute in ("for", "aria-labelledby", "aria-describedby", "data-dialog", "form"):
                for name in element.get(attribute, "").split():
                    assert name in ids, f"{where}: {attribute}={name}"
            for attribute in ("hx-target", "hx-indicator"):
                if (target := element.get(attribute, "")).startswith("#"):
                    assert target[1:] in ids, f"{where}: {attribute}={target}"
            href = element.get("href", "")
            if element.tag == "a" and href.startswith("#"):
                assert href[1:] in ids, f"{where}: {href}"


def test_everybody_can_use_it(answers: list[tuple[str, str]]) -> None:
    for where, html in answers:
        root = parse(html)
        parents = {child: parent for parent in root.iter() for child in parent}
        for element in root.iter():
            if element.tag == "th":
                assert element.get("scope"), f"{where}: <th> without scope"
            if element.tag == "time":
                assert element.get("datetime"), f"{where}: <time> without datetime"
            if element.tag == "table":
                assert element.find("caption") is not None, f"{where}: <table> without caption"
            if element.tag in LABELLED and element.get("type") not in ("hidden", "submit"):
                assert is_labelled(element, root, parents), f"{where}: {element.tag} {element.get('name')} has no label"
            if element.tag in ("button", "a"):
                assert text_of(element) or element.get("aria-label"), f"{where}: <{element.tag}> without a name"
            if element.tag == "svg":
                assert element.get("aria-hidden") == "true" or element.get("role") == "img", where


def test_every_form_carries_its_token(answers: list[tuple[str, str]]) -> None:
    for where, html in answers:
        for form in elements(html):
            if form.tag == "form" and form.get("method", "get").lower() == "post":
                names = [field.get("name") for field in form.iter("input")]
                assert "csrf_token" in names, f"{where}: {form.get('action')}"


def test_a_page_says_where_one_is(answers: list[tuple[str, str]]) -> None:
    titles: dict[str, str] = {}
    for where, html in answers:
        if not is_page(html):
            continue
        root = parse(html)
        assert root.get("lang") == "pt-BR", where
        title = (root.findtext(".//title") or "").strip()
        assert title.endswith(" · EstoqueUni"), f"{where}: {title}"
        assert not title.startswith("·"), where
        assert len(list(root.iter("h1"))) == 1, f"{where}: one <h1>"
        assert root.find(".//main[@id='conteudo']") is not None, where
        titles[urlsplit(where.split()[1]).path] = title
    assert len(set(titles.values())) >= len(titles) - 1, f"pages that share a title: {titles}"


def test_own_links_lead_to_pages(app: Flask, answers: list[tuple[str, str]], login: Callable[..., Browser]) -> None:
    adapter = app.url_map.bind("localhost")
    for where, html in answers:
        for element in elements(html):
            for attribute in ("href", "action", "hx-get", "hx-post"):
                address = element.get(attribute, "")
                if (
                    element.tag in ("link", "script", "use")
                    or not address.startswith("/")
                    or address.startswith("/static/")
                ):
                    continue
                method = "POST" if attribute == "hx-post" or element.get("method") == "post" else "GET"
                assert adapter.test(urlsplit(address).path, method), f"{where}: {attribute}={address} leads nowhere"


def test_a_fragment_is_small(app: Flask, login: Callable[..., Browser]) -> None:
    scene = Scene(app, login)
    for address in ("/painel/vivo", "/historico/vivo", "/painel/estado", f"/execucoes/{scene.ids['run_id']}/andamento"):
        html = scene.browsers["owner"].partial(address).data

        assert len(gzip.compress(html)) < 8_000, address


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.relative_to(ROOT / "templates").as_posix())
def test_a_template_leaves_escaping_on(template: Path) -> None:
    text = template.read_text()

    assert "|safe" not in text.replace(" ", "")
    assert "autoescape" not in text
    assert "hx-on" not in text


def is_labelled(element: Element, root: Element, parents: dict[Element, Element]) -> bool:
    if element.get("aria-label") or element.get("aria-labelledby"):
        return True
    if element.get("id") and root.find(f".//label[@for='{element.get('id')}']") is not None:
        return True
    above = parents.get(element)
    while above is not None:
        if above.tag == "label":
            return True
        above = parents.get(above)
    return False


def text_of(element: Element) -> str:
    return "".join(element.itertext()).strip()
