"""The collector's first start: a project, the address for its errors, and a key to read them."""

import os
import shutil
from pathlib import Path

import django

STATE = Path(os.environ["STATE_DIRECTORY"])
EMPTY = Path(__file__).parent / "empty"  # the databases with their tables, made with the disk


def main() -> None:
    os.umask(0o077)
    for database in EMPTY.glob("*.sqlite3"):
        shutil.copyfile(database, STATE / database.name)
    django.setup()
    from bsmain.models import AuthToken
    from projects.models import Project
    from teams.models import Team

    project = Project.objects.create(name="aiapp", team=Team.objects.create(name="you"))
    token = AuthToken.objects.create(
        description="reads", is_project_bound=True, project=project, events_read=True, issues_read=True
    )
    (STATE / "token").write_text(token.token)
    (STATE / "dsn").write_text(project.dsn)  # last: this is how the next start knows


if __name__ == "__main__" and not (STATE / "dsn").exists():
    main()
