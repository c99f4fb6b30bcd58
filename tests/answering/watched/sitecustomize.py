"""In a child's PYTHONPATH: writes down, from the start of the process, what only code of somebody else's would do.

NETWRIGHT_WATCH names the file that it writes to, NETWRIGHT_WATCH_ALLOWED the folders in which files may be written.
"""

import os
import sys

LOG = os.environ.get("NETWRIGHT_WATCH", "")
ALLOWED = tuple(filter(None, os.environ.get("NETWRIGHT_WATCH_ALLOWED", "").split(os.pathsep)))
READS = bool(os.environ.get("NETWRIGHT_WATCH_READS"))
MARK = "netwright_canary"
ALWAYS = (
    "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty", "os.startfile", "os.kill",
    "subprocess.Popen", "pty.spawn", "pickle.find_class", "socket.connect", "socket.sendto", "socket.getaddrinfo",
    "socket.gethostbyname", "urllib.Request", "webbrowser.open", "ftplib.connect", "smtplib.connect",
    "imaplib.open", "sqlite3.connect", "shutil.unpack_archive",
)  # fmt: skip
PLACES = (
    "os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod", "os.chown",
    "shutil.rmtree", "shutil.move", "shutil.copyfile", "tempfile.mkstemp", "tempfile.mkdtemp",
)  # fmt: skip
PARSER = f"{os.path.dirname(os.__file__)}/ast.py"  # noqa: PTH120
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
MODULES = {
    MARK, "pip", "ensurepip", "venv", "antigravity", "webbrowser", "telnetlib", "ftplib", "smtplib", "imaplib", "pty",
    "idlelib", "lib2to3", "dill", "keras", "tensorflow", "nltk", "imp", "uu", "cgitb",
}  # fmt: skip


def _inside(path):
    text = os.fsdecode(path) if isinstance(path, (str, bytes)) or hasattr(path, "__fspath__") else ""
    return not text or text == os.devnull or os.path.abspath(text).startswith(ALLOWED)  # noqa: PTH100 - as light as a hook must be


def _spoken(event, args):
    """What is to be written down of an event; nothing for most."""
    if event == "open":
        path, _, flags = args
        if isinstance(path, int) or path is None:
            return None
        if isinstance(flags, int) and flags & WRITES:
            return None if _inside(path) else f"writes {path!r}"
        return f"reads {os.path.abspath(os.fsdecode(path))}" if READS else None  # noqa: PTH100
    if event == "import":
        return f"imports {args[0]}" if args[0].split(".")[0] in MODULES else None
    if event in ("exec", "compile"):
        return _code(event, args)
    if event == "ctypes.dlopen":
        return f"loads {args[0]}" if MARK in str(args[0]) else None
    if event in ALWAYS:
        return f"{event} {args[:2]!r:.200}"
    if event in PLACES:
        return (
            None if all(_inside(one) for one in args[:2] if isinstance(one, (str, bytes))) else f"{event} {args!r:.200}"
        )
    return None


def _code(event, args):
    """Code that holds the mark: of a payload."""
    if event == "compile":
        return "compiles a payload" if MARK in str(args[0]) else None
    code = args[0]
    return "runs a payload" if MARK in code.co_filename or MARK in repr((code.co_consts, code.co_names)) else None


if LOG:
    _descriptor = os.open(LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    _own = ("sitecustomize.py", "gadgets.py", "malice.py", "given_hostile.py")

    def _hook(event, args):
        if event in ("compile", "exec") and getattr(args[0], "co_filename", "").endswith(_own):
            return
        told = _spoken(event, args)
        if not told:
            return
        code, line = sys._getframe(1).f_code.co_filename, sys._getframe(1).f_lineno
        if event == "compile" and code == PARSER:
            return  # parsed, not run, as NumPy does with the head of an array
        os.write(_descriptor, f"{told} | {code}:{line}\n".encode("utf-8", "replace"))

    sys.addaudithook(_hook)
