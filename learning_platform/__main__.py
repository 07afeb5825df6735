"""python -m learning_platform --model=zoo/fer --port=8001: makes what is missing, and serves."""

import argparse
import os
import sys

from jaxvision.errors import UserError


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m learning_platform", allow_abbrev=False)
    parser.add_argument("--model", default="zoo/fer", help="folder of an exported expression model")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8001)
    parser.add_argument(
        "--data", default="", help="database, files, key; workdir/learning_platform"
    )
    parser.add_argument("--workers", type=int, default=0, help="processes; 0: as many as cores")
    parser.add_argument("--no-demo", action="store_true", help="leave an empty database empty")
    return parser.parse_args(argv)


def set_environment(args: argparse.Namespace) -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "learning_platform.settings"
    os.environ["LEARNING_PLATFORM_MODEL"] = os.path.abspath(args.model)
    if args.data:
        os.environ["LEARNING_PLATFORM_DATA"] = os.path.abspath(args.data)
    # The address that is served is one that may be asked for.
    hosts = os.environ.get("LEARNING_PLATFORM_HOSTS", "localhost,127.0.0.1,[::1]")
    if args.host not in ("127.0.0.1", "localhost", "0.0.0.0", "::"):
        hosts += f",{args.host}"
    os.environ["LEARNING_PLATFORM_HOSTS"] = hosts


def prepare(args: argparse.Namespace) -> None:
    """Files for the browser, the database, and in an empty one the demo.

    Raises:
      UserError: the model's folder is not one.
    """
    from learning_platform import browser_files, expression_model

    expression_model.load(os.environ["LEARNING_PLATFORM_MODEL"])
    try:
        browser_files.install()
    except browser_files.NotToBeHad as error:
        print(
            f"{error}\nWithout it, students are offered the second way: small pictures to this "
            "server, after their consent.",
            file=sys.stderr,
        )
    import django

    django.setup()
    from django.core.management import call_command
    from django.db import connections

    from learning_platform import demo

    call_command("migrate", verbosity=0)
    passwords = [] if args.no_demo else demo.fill()
    if passwords:
        print("A demo course is there. These passwords are shown only now:")
        for role, email, password in passwords:
            print(f"  {role:14} {email:20} {password}")
    connections.close_all()  # the server's processes open their own


def main(argv: list[str]) -> int:
    args = parse(argv)
    set_environment(args)
    try:
        prepare(args)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    from learning_platform.server import Server, default_workers

    print(f"serving at http://{args.host}:{args.port}/", flush=True)
    Server(args.host, args.port, args.workers or default_workers()).run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
