# SPDX-License-Identifier: Apache-2.0

"""Scenarios on the official Python SDK, which speaks gRPC to a proxy.

run SCENARIO key=value...   one scenario; exit code 0 when every step held
serve                       scenarios asked for on standard input, many at a time, until it ends
list                        the names of the scenarios

The lines asked for and answered are those of the Java program beside this one.
"""

import json
import sys
import threading
import time
import traceback

from context import CheckFailed, Context
from scenarios import SCENARIOS


def perform(name, context):
    error = None
    try:
        if name not in SCENARIOS:
            raise CheckFailed(f"no scenario '{name}'; known: {sorted(SCENARIOS)}")
        SCENARIOS[name](context)
    except CheckFailed as failed:
        error = str(failed)
    except Exception:
        error = traceback.format_exc()
    closing = context.close()
    error = error or closing
    context.done(error)
    return error is None


def serve():
    running = {}
    for line in sys.stdin:
        asked = json.loads(line)
        if "stop" in asked:
            context = running.get(asked["stop"])
            if context:
                context.stop()
            continue
        context = Context(asked["id"], asked["with"])
        running[asked["id"]] = context
        thread = threading.Thread(target=perform, args=(asked["scenario"], context), daemon=True)
        thread.start()


def run(arguments):
    given = {"prefix": f"p{int(time.time() * 1000)}"}
    given.update(argument.split("=", 1) for argument in arguments[1:])
    context = Context(0, given)

    def until_told():
        sys.stdin.readline()
        context.stop()

    threading.Thread(target=until_told, daemon=True).start()
    return perform(arguments[0] if arguments else "", context)


def main():
    command = sys.argv[1] if len(sys.argv) > 1 else ""
    if command == "list":
        print("\n".join(sorted(SCENARIOS)))
    elif command == "serve":
        serve()
    elif command == "run":
        sys.exit(0 if run(sys.argv[2:]) else 1)
    else:
        sys.exit("usage: run SCENARIO endpoints=HOST:PORT [prefix=WORD] [ssl=true] [key=value...] | serve | list")


main()
