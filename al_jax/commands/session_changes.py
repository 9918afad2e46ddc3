"""Classes and sections of a session that change: added, renamed, left out, turned and so on."""

from collections.abc import Callable
from typing import Any

from absl import flags

from al_jax.commands import command
from al_jax.core.stack import Images, InputError
from al_jax.files.rescans import read_scan
from al_jax.session import Event, Session
from al_jax.session.ranges import section_number, span_of, structure_number

FLAGS = flags.FLAGS
CLASS_ACTIONS = ("add", "rename", "merge", "split")
SECTION_ACTIONS = ("leave_out", "take_in", "replace", "mirror", "turn", "order")
QUOTES = "one with a comma stands in quotes"


def define_flags() -> None:
    """The flags of `classes` and `sections`."""
    flags.DEFINE_string("add", None, "classes: name of a class more, of --first to --last.")
    flags.DEFINE_string("rename", None, "classes: a class that gets the name --to.")
    flags.DEFINE_list(
        "merge", None, f"classes: classes that become one, --to; {QUOTES}, --merge='\"A, b\",C'."
    )
    flags.DEFINE_string("split", None, "classes: a class that becomes several, --to=B,C.")
    flags.DEFINE_string(
        "to", None, f"classes: the new name, or the names of a split; of these, {QUOTES}."
    )
    flags.DEFINE_string("leave_out", None, "sections: a section that is damaged, say.")
    flags.DEFINE_string("take_in", None, "sections: one that was left out, by name.")
    flags.DEFINE_string("replace", None, "sections: one that gets the image of --images.")
    flags.DEFINE_string("mirror", None, "sections: one that is mirrored left to right.")
    flags.DEFINE_string("turn", None, "sections: one that is turned by --degrees, clockwise.")
    flags.DEFINE_integer("degrees", 180, "sections: 90, 180 or 270.")
    flags.DEFINE_list("order", None, "sections: all sections in the order they are to have.")


def classes(session: Session) -> tuple[str, dict[str, Any]]:
    """Changes the classes, or lists them."""
    action = _action(CLASS_ACTIONS, SECTION_ACTIONS)
    if action != "add":
        command.refuse(("first", "last"), "without --add")
    if action in (None, "add"):
        command.refuse(("to",), "without --rename, --merge or --split")
    images, to = session.images, _names(FLAGS.to or "")
    if action is None:
        names = list(images.names)
        return f"the classes are {', '.join(names)}", {"classes": names}
    if action == "add":
        span = span_of((FLAGS.first or "", FLAGS.last or ""), images)
        return _done(session, session.add_class(FLAGS.add.strip(), span))
    if action == "split":
        return _done(session, session.split_class(structure_number(FLAGS.split, images), to))
    if not to:
        raise InputError(f"--{action} needs the new name; give it by --to")
    name = to[0] if len(to) == 1 else FLAGS.to.strip()
    if action == "rename":
        return _done(session, session.rename_class(structure_number(FLAGS.rename, images), name))
    structures = _each(structure_number, FLAGS.merge, images, images.names)
    return _done(session, session.merge_classes(structures, name))


def sections(session: Session) -> tuple[str, dict[str, Any]]:
    """Changes the sections, or lists them."""
    action = _action(SECTION_ACTIONS, CLASS_ACTIONS)
    command.refuse(("to", "first", "last"), "with sections")
    if action != "replace":
        command.refuse(("images",), "with sections, but for --replace")
    if action != "turn":
        command.refuse(("degrees",), "without --turn")
    images = session.images
    if action is None:
        line = f"the sections are {', '.join(images.sections)}"
        line += f"; left out: {', '.join(session.left_out)}" if session.left_out else ""
        found = {"sections": list(images.sections), "left_out": list(session.left_out)}
        return line, found
    if action == "take_in":
        return _done(session, session.take_in(FLAGS.take_in))
    if action == "order":
        order = _each(section_number, FLAGS.order, images, images.sections)
        return _done(session, session.set_order(order))
    section = section_number(str(FLAGS[action].value), images)
    if action == "leave_out":
        return _done(session, session.leave_out(section))
    if action == "mirror":
        return _done(session, session.mirror(section))
    if action == "turn":
        return _done(session, session.turn(section, FLAGS.degrees))
    if FLAGS.images is None:
        raise InputError("--replace needs the new image; name its file by --images")
    return _done(
        session, session.replace_image(section, read_scan(FLAGS.images, session.images, section))
    )


def _names(text: str) -> list[str]:
    """Names between commas, as of a flag that takes several."""
    try:
        return flags.ListParser().parse(text.strip())
    except ValueError:  # a quote that does not end
        return [text.strip()]


def _each(
    find: Callable[[str, Images], int], given: list[str], images: Images, known: tuple[str, ...]
) -> list[int]:
    """The numbers of names; where one of those that are known has a comma, says how to write it."""
    try:
        return [find(name, images) for name in given]
    except InputError as error:
        if not any("," in name for name in known):
            raise
        raise InputError(f"{error}; of several, {QUOTES}") from error


def _action(actions: tuple[str, ...], others: tuple[str, ...]) -> str | None:
    """What the flags ask for, if anything."""
    command.refuse(others, "with this command")
    given = [name for name in actions if FLAGS[name].value is not None]
    if len(given) > 1:
        raise InputError(f"--{given[0]} and --{given[1]} are two changes; make one at a time")
    return given[0] if given else None


def _done(session: Session, event: Event) -> tuple[str, dict[str, Any]]:
    images = session.images
    found = {"number": event["number"], "event": event["event"], "text": event["text"]}
    return session.outcome(event), {
        **found,
        "classes": list(images.names),
        "sections": list(images.sections),
    }
