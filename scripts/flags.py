"""What the scripts share: their flags, errors as one line, and the exit status.

Exit status: 0 done; 1 a failure, explained in one line on stderr; 2 bad usage; 130 Ctrl-C, 143 SIGTERM.
"""

import program

import re
import signal
import sys
from pathlib import Path

from absl import flags

from tfcore import signals
from tfcore.showing import with_extra


def start(main, define, *, positional=False):
    """Parses the flags that define(values) defines, calls main(values, arguments), and ends with an exit status."""
    program.keep_going()
    with signals.second_ends():
        try:
            _called(main, define, positional)
        finally:
            signals.end_in_one_line()  # TensorFlow's own end takes a while


def _called(main, define, positional):
    from tfcore.quiet import tf  # here, so that this module is imported at once

    values = parser(define)
    for number in signals.STOPS:
        signal.signal(number, _interrupt)
    try:
        if help_wanted := {"--help", "-h", "-?", "--helpfull"} & set(sys.argv[1:]):
            print(help_text(values, sys.modules["__main__"].__doc__, full="--helpfull" in help_wanted))
            raise SystemExit(0)
        arguments = values(sys.argv)[1:]
        if arguments and not positional:
            raise flags.Error(f"unexpected argument {arguments[0]!r}")
        main(values, arguments)
    except flags.Error as error:
        _end(values, 2, f"{error} (--help lists the flags)")
    except KeyboardInterrupt as stop:
        _end(values, 128 + getattr(stop, "signum", 2), str(stop) or "interrupted")
    except ModuleNotFoundError as error:
        if values.traceback or with_extra(error) == str(error):
            raise
        _end(values, 1, with_extra(error))
    except (ValueError, OSError, FloatingPointError, MemoryError, tf.errors.OpError) as error:
        if values.is_parsed() and values.traceback:
            raise
        _end(values, 1, str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__)


def parser(define):
    """Returns a FlagValues with the flags of a script; nothing global is touched."""
    values = flags.FlagValues()
    flags.DEFINE_boolean("traceback", False, "more output: show where a failure happened", flag_values=values)
    define(values)
    return values


def usage_error(message):
    """Returns the exception that ends a script with status 2."""
    return flags.Error(message)


def in_flags(values, message):
    """Returns a message of the library in the words of who typed flags: clean=True as --clean."""

    def flag(match):
        name, value = match[1], match[2]
        if name not in values:
            return match[0]
        return {"True": f"--{name}", "False": f"--no{name}"}.get(value, f"--{name}={value}")

    return re.sub(r"(?<![\w/=?-])([a-z_]\w*)=(\w*)", flag, message)


def _interrupt(signum, frame):
    """Ends whatever runs, so that temporary files are removed; training has its own way, which saves a checkpoint."""
    stop = KeyboardInterrupt(f"ended by {signal.Signals(signum).name}")
    stop.signum = signum
    raise stop


def _end(values, status, message):
    print(f"{Path(sys.argv[0]).name}: {in_flags(values, message)}", file=sys.stderr)
    raise SystemExit(status)


def help_text(values, doc, *, full):
    """Returns the script's docstring and its flags in groups, each with its default; without `full` the common ones.

    A flag says in the first word of its help, such as "network:", which group it is in; "more" stands for rare ones.
    """
    groups = {}
    for name in own_names(values):
        flag, (choices, group, text) = values[name], parts_of_help(values[name])
        if full or not group.startswith("more"):
            text += f": {choices}" if choices and (full or len(choices) < 40) else ""
            default = "" if flag.default is None or flag.boolean else f" [{flag.default_as_str.strip(chr(39))}]"
            groups.setdefault(group.removeprefix("more "), []).append(f"  --{name:<18} {text}{default}")
    lines = [doc.strip(), ""]
    for group in sorted(groups, key=lambda g: (GROUPS.index(g) if g in GROUPS else len(GROUPS), g)):
        lines += [f"{group}:", *groups[group]]
    return "\n".join(lines if full else [*lines, "--helpfull lists all flags."])


def own_names(values):
    """Returns the names of the flags that a script defines, without those of help."""
    known = (name for name in sorted(values) if name not in ("help", "helpfull", "helpshort", "helpxml", "?"))
    return [name for name in known if name != values[name].short_name and values[name].help is not None]


def parts_of_help(flag):
    """Returns of a flag's help the choices, or None, the group, such as "network" or "more network", and the text."""
    return re.match(r"(?:<(.*?)>: )?((?:more )?\w+): (.*)", flag.help, re.DOTALL).groups()


GROUPS = ("what", "network", "training", "augmentation", "output")


def integers(name, values):
    """Returns the list flag --name as a tuple of positive integers."""
    try:
        numbers = tuple(int(value) for value in values if value != "")
    except ValueError:
        numbers = (0,)
    if any(number < 1 for number in numbers):
        raise usage_error(f"--{name}={','.join(values)} must be positive integers with commas between")
    return numbers
