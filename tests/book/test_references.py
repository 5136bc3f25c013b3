"""References: every citation leads to an entry, every entry is whole, every term is unique."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from pybtex.database import Entry, parse_string

from bnlib.evidence.experiment import Experiment
from bnlib.experiments import load_all

ROOT = Path(__file__).resolve().parents[2]
BIB = (ROOT / "references.bib").read_text(encoding="utf-8")
ENTRIES: dict[str, Entry] = dict(parse_string(BIB, "bibtex").entries.items())
PAGES = sorted([*ROOT.glob("chapters/*.md"), *ROOT.glob("*.md")])

CITATION = re.compile(r"\{cite(?::[a-z]+)?\}`([^`]+)`")
TERM = re.compile(r"\{term\}`([^`]+)`")
GLOSSARY = re.compile(r"^(`{3,}|:{3,})\{glossary\}[^\n]*\n(.*?)^\1\s*$", re.MULTILINE | re.DOTALL)
ARXIV = re.compile(r"\d{2}(0[1-9]|1[0-2])\.\d{4,5}")


def cited(text: str) -> list[str]:
    """Keys that a page cites; ``{cite:t}`see <key>` `` is no form that the book uses."""
    return [key.strip() for keys in CITATION.findall(text) for key in keys.split(",")]


def keys_in(bib: str) -> list[str]:
    return re.findall(r"^@\w+\{([^,\s]+),", bib, re.MULTILINE)


def glossary_terms(text: str) -> list[str]:
    """Terms of the glossary directives in a page: the lines that are not indented."""
    return [
        line.strip()
        for _, body in GLOSSARY.findall(text)
        for line in body.splitlines()
        if line and not line[0].isspace()
    ]


def used_terms(text: str) -> list[str]:
    """Terms that a page refers to; in ``shown <term>`` the term is in the brackets."""
    found = (re.search(r"<([^>]+)>$", t) or re.search(r"(.+)", t) for t in TERM.findall(text))
    return [match[1].strip() for match in found if match]


def repeated(values: list[str]) -> list[str]:
    return sorted(value for value, n in Counter(values).items() if n > 1)


def defects(key: str, entry: Entry) -> list[str]:
    """Return what is missing or malformed in an entry."""
    fields, found = entry.fields, []
    found += [f"{key}: no {name}" for name in ("title", "year") if not fields.get(name)]
    if not entry.persons.get("author"):
        found.append(f"{key}: no author")
    year, living = fields.get("year", ""), "url" in fields and "eprint" not in fields
    if not (re.fullmatch(r"(19|20)\d{2}", year) or (year == "n.d." and living)):
        found.append(f"{key}: year {year!r}")
    if "eprint" in fields and fields.get("archiveprefix") != "arXiv":
        found.append(f"{key}: an eprint that is not on arXiv")
    number = fields.get("eprint")
    if number is not None and not ARXIV.fullmatch(number):
        found.append(f"{key}: arXiv number {number!r}")
    if number is not None and year.isdigit() and int(year) < 2000 + int(number[:2] or 0):
        found.append(f"{key}: published before its preprint")
    if entry.type == "article" and "journal" not in fields:
        found.append(f"{key}: no journal")
    if entry.type in ("inproceedings", "incollection") and "booktitle" not in fields:
        found.append(f"{key}: no book title")
    if "pages" in fields and not re.fullmatch(r"\d+--\d+", fields["pages"]):
        found.append(f"{key}: pages {fields['pages']!r}")
    if not fields.get("title", "").startswith("{"):
        found.append(f"{key}: the title's capitals are not protected by a second pair of braces")
    return found


def glossary() -> list[str]:
    return glossary_terms((ROOT / "chapters/glossary.md").read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_page_cites_only_entries(page: Path):
    missing = sorted(set(cited(page.read_text(encoding="utf-8"))) - set(ENTRIES))
    assert not missing, f"{page.name} cites {missing}, not in references.bib"


def test_claims_name_only_entries():
    claims = [claim for experiment in load_all() for claim in experiment.claims]
    assert claims
    missing = {c.id: sorted(set(c.sources) - set(ENTRIES)) for c in claims}
    missing = {claim: keys for claim, keys in missing.items() if keys}
    assert not missing, f"sources that are not in references.bib: {missing}"
    assert not [c.id for c in claims if isinstance(c.sources, str)]


@pytest.mark.parametrize("key", sorted(ENTRIES))
def test_entry_is_whole(key: str):
    assert defects(key, ENTRIES[key]) == []


def test_nothing_is_listed_twice():
    assert repeated([key.lower() for key in keys_in(BIB)]) == []
    assert len(keys_in(BIB)) == len(ENTRIES)
    numbers = [e.fields["eprint"] for e in ENTRIES.values() if "eprint" in e.fields]
    assert repeated(numbers) == []
    titles = [re.sub(r"\W", "", e.fields["title"]).lower() for e in ENTRIES.values()]
    assert repeated(titles) == []


def test_glossary_terms_are_unique():
    terms = glossary()
    assert len(terms) >= 40
    assert repeated([term.lower() for term in terms]) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_page_uses_only_glossary_terms(page: Path):
    known = {term.lower() for term in glossary()}
    unknown = {t for t in used_terms(page.read_text(encoding="utf-8")) if t.lower() not in known}
    assert not unknown, f"{page.name} uses {sorted(unknown)}, not in the glossary"


def test_every_definition_has_a_text_of_its_own():
    text = (ROOT / "chapters/glossary.md").read_text(encoding="utf-8")
    (_, body), *others = GLOSSARY.findall(text)
    assert not others
    for block in re.split(r"\n\s*\n", body.strip()):
        definition = [line for line in block.splitlines() if line[:1].isspace()]
        assert definition, f"no definition: {block!r}"
        assert definition[-1].rstrip().endswith("."), f"no full stop: {block!r}"


# The checks themselves must be able to fail.


def test_reads_every_form_of_citation():
    text = "{cite}`a,b` {cite:t}`c` {cite:p}`d, e` {term}`x` {term}`shown <y z>`"
    assert cited(text) == ["a", "b", "c", "d", "e"]
    assert used_terms(text) == ["x", "y z"]


def test_reads_both_fences_of_a_glossary():
    text = "```{glossary}\nOne\nalso one\n  Text.\n\nTwo\n  Text.\n```\n"
    text += "\n:::{glossary}\none\n  Text.\n:::\n"
    assert glossary_terms(text) == ["One", "also one", "Two", "one"]
    assert repeated([t.lower() for t in glossary_terms(text)]) == ["one"]


@pytest.mark.parametrize(
    ("bib", "defect"),
    [
        ("@misc{a, author={A}, year={2000}}", "no title"),
        ("@misc{a, title={{T}}, year={2000}}", "no author"),
        ("@misc{a, title={{T}}, author={A}}", "no year"),
        ("@misc{a, title={{T}}, author={A}, year={20O0}}", "year"),
        ("@misc{a, title={{T}}, author={A}, year={n.d.}}", "year"),
        ("@misc{a, title={T}, author={A}, year={2000}}", "braces"),
        ("@article{a, title={{T}}, author={A}, year={2000}}", "no journal"),
        ("@inproceedings{a, title={{T}}, author={A}, year={2000}}", "no book title"),
        (
            "@misc{a, title={{T}}, author={A}, year={2015}, eprint={1502.031671}, "
            "archiveprefix={arXiv}}",
            "arXiv number",
        ),
        (
            "@misc{a, title={{T}}, author={A}, year={2015}, eprint={1513.03167}, "
            "archiveprefix={arXiv}}",
            "arXiv number",
        ),
        (
            "@misc{a, title={{T}}, author={A}, year={2014}, eprint={1502.03167}, "
            "archiveprefix={arXiv}}",
            "before its preprint",
        ),
        ("@misc{a, title={{T}}, author={A}, year={2015}, eprint={1502.03167}}", "not on arXiv"),
    ],
)
def test_a_defective_entry_is_found(bib: str, defect: str):
    entry = parse_string(bib, "bibtex").entries["a"]
    assert any(defect in found for found in defects("a", entry)), defects("a", entry)


def test_a_repeated_key_is_found():
    assert repeated(keys_in("@misc{a,\n}\n@article{b,\n}\n@misc{a,\n}\n")) == ["a"]


@pytest.mark.parametrize("experiment", load_all(), ids=lambda e: e.name)
def test_the_source_of_an_experiment_is_on_its_page(experiment: Experiment) -> None:
    page = (ROOT / "chapters" / f"{experiment.chapter}.md").read_text(encoding="utf-8")
    assert f"{{protocol-source}} {experiment.name}\n" in page
