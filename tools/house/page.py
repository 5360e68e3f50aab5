"""`./x docs`: the examples in the docstrings, then the site."""

from __future__ import annotations

from house.environment import Environment
from house.message import say
from house.place import ROOT
from house.process import Words, run
from house.trial import doctest

SITE = ROOT / "target" / "site"


def docs(arguments: list[str]) -> int:
    """Run the docstring examples and build the site into target/site; arguments go to mkdocs."""
    environment = Environment.default().ready().ready("docs")
    examples = doctest(environment)
    words: Words = [environment.python, "-m", "mkdocs", "build", "--strict", "--site-dir", SITE, *arguments]
    site = run(words, environment.variables() | {"NO_MKDOCS_2_WARNING": "1"})
    if not site:
        say(f"the site is in {SITE.relative_to(ROOT)}/index.html")
    return examples or site
