"""The present edition's layout, on a hand-made text."""

from fedmeta.benchmarks.shakespeare.characters import fold
from fedmeta.benchmarks.shakespeare.gutenberg import extract_current, unfinished_current

EDITION = """\ufeffThe Project Gutenberg eBook of some plays

*** START OF THE PROJECT GUTENBERG EBOOK SOME PLAYS ***

Some Plays

                    Contents

    THE VERSES
    ANN’S PLAY
    THE OTHER

THE VERSES

                    1
A verse.

ANN’S PLAY

Contents

ACT I
Scene I. A room.

Dramatis Personæ

QUEEN OF NOWHERE.
ANN, her maid.

SCENE: Nowhere.

ACT I

SCENE I. A room.

 Enter Queen and Ann.

ANN.
One ‘two’—
three _four_.

[_Aside._] Five [_to Ann_] six.
 [_Exit
Queen._]
nobody’s

QUEEN.
Seven
_She sits._
nobody’s
 Re-enter Queen.
FIRST LORD.
Éight

QUEEN.
nine
ten

SCENE II. A hall.
nobody’s

ANN.
seven

THE OTHER

ACT I
BOB.
a
b
c
*** END OF THE PROJECT GUTENBERG EBOOK SOME PLAYS ***
ANN.
licence
"""


def test_speeches_of_a_play():
    extract = extract_current(fold(EDITION))
    said = {(role.play, role.name): role.text for role in extract.roles}
    # Dramatis Personae names nobody, directions end a speech or are taken out
    assert said == {
        ("ANN'S PLAY", "ANN"): "One 'two'- three four. Five six. seven ",
        ("ANN'S PLAY", "QUEEN"): "Seven nine ten ",
    }
    assert extract.pairs == 3  # FIRST LORD says one line, BOB is alone in his play
    assert extract.discarded == 3


def test_the_acts_of_a_single_play_are_no_plays():
    speeches = [f"{who}.\n{who} says this.\nAnd that.\n" for who in ("ANN", "BOB")]
    contents = "Contents\n\nACT I\nScene I. A wood.\nACT II\nScene I. A house.\n"
    acts = [
        f"{act}\n\nSCENE I.\n\n" + "\n".join(speeches) for act in ("ACT I", "ACT II")
    ]
    for persons in ("Dramatis Person\xe6\n\nANN, a lady.\n\n", ""):
        text = (
            "*** START OF THE PROJECT GUTENBERG EBOOK FOXES ***\n\nTHE FOXES\n\nby"
            f" William Shakespeare\n\n{contents}\n{persons}" + "\n".join(acts)
        )
        roles = extract_current(fold(text)).roles
        assert [role.client_id for role in roles] == ["THE_FOXES_ANN", "THE_FOXES_BOB"]
        assert roles[0].text == 2 * "ANN says this. And that. "


def test_a_cut_text_is_noticed():
    assert unfinished_current(EDITION) == ""
    cut = EDITION[: EDITION.index("*** END")]
    assert "*** END OF" in unfinished_current(cut)


def test_another_layout_has_no_roles():
    assert extract_current("A PLAY\n\n  ANN. one\n").roles == []
    markers = EDITION.replace("Contents", "Of all")
    assert extract_current(markers).roles == []
