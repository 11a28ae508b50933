"""What the tests ask of sanitizers: that every report fails a test.

A sanitized build lies in a directory named after its sanitizers, such as
build-address-undefined; it is slower, so waits are given SLOWER times as long.
"""
import glob
import os

HERE = os.path.dirname(os.path.abspath(__file__))


def slower(build):
    """How many times as long a wait may take with this build."""
    name = os.path.basename(os.path.normpath(build))
    return 10 if "thread" in name else 3 if "-" in name else 1


def ask(log_path=None):
    """Set what all programs started from here on are to do.  With @log_path
    reports go to files LOG_PATH.PID, instead of to stderr."""
    log = f":log_path={log_path}" if log_path else ""
    os.environ.update(
        ASAN_OPTIONS="detect_leaks=1:detect_stack_use_after_return=1:strict_string_checks=1:exitcode=99" + log,
        LSAN_OPTIONS=f"suppressions={HERE}/lsan.supp:print_suppressions=0",
        UBSAN_OPTIONS="print_stacktrace=1:exitcode=99" + log,
        TSAN_OPTIONS=f"suppressions={HERE}/tsan.supp:second_deadlock_stack=1:history_size=4:exitcode=99" + log)


def reports(log_path):
    """The reports that were written to @log_path since the last call."""
    texts = []
    for name in sorted(glob.glob(f"{log_path}.*")):
        with open(name, errors="replace") as f:
            texts.append(f"{os.path.basename(name)}:\n{f.read()}")
        os.unlink(name)
    return texts
