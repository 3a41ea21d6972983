"""The page of what is installed names every package that is pinned, in its version, with a licence."""

import re

import licences


def test_the_page_names_every_pinned_package_and_no_other():
    rows = re.findall(r"^\| (\S+) \| (\S+) \| (.+) \| (.+) \|$", licences.PAGE.read_text(), re.MULTILINE)
    assert [row[:2] for row in rows if row[0] != "package"] == licences.pinned()


class Metadata(dict):
    def get_all(self, name):
        return self.get(name)


def test_a_licence_is_an_expression_a_short_name_or_classifiers():
    mit = ["License :: OSI Approved :: MIT License", "Topic :: Other"]
    assert licences.licence(Metadata({"License-Expression": "MIT", "License": "BSD"})) == "MIT"
    assert licences.licence(Metadata(License="Apache 2.0", Classifier=mit)) == "Apache 2.0"
    assert licences.licence(Metadata(License="A long text\nof a licence", Classifier=mit)) == "MIT License"
    assert licences.licence(Metadata(License="A long text\nof a licence")) == "A long text of a licence"
    assert licences.licence(Metadata()) == ""
