# Serves a file of lines `OID TYPE VALUE` to snmpd (pass_persist of snmpd.conf). The file is read anew for every question.
import sys


def number(oid):
    return tuple(int(part) for part in oid.strip(".").split("."))


def tree(path):
    with open(path, encoding="utf-8") as lines:
        parts = [line.rstrip("\n").split(" ", 2) for line in lines if not line.startswith("#")]
    return {number(part[0]): (part[1], part[2] if len(part) > 2 else "") for part in parts}


def answer(question, oid):
    objects = tree(sys.argv[1])
    if question == "getnext":
        oid = min((other for other in objects if other > oid), default=None)
    if oid not in objects:
        return "NONE"
    return "\n".join(["." + ".".join(map(str, oid)), *objects[oid]])


for line in iter(sys.stdin.readline, ""):
    line = line.strip()
    if line == "PING":
        print("PONG", flush=True)
    elif line in ("get", "getnext"):
        print(answer(line, number(sys.stdin.readline())), flush=True)
    elif not line:
        break
