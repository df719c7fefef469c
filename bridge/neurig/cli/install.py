"""``neurig install`` and ``neurig package``: the objects of Pure Data and SuperCollider where these look for them."""

from pathlib import Path

import click

_NEXT = {
    "pd": "In a patch, make an object [declare -path neurig], then [neuralamp~], [mdrnn] or [neurig.rig]; right-click, Help.",
    "sc": "In SuperCollider, recompile the class library (Ctrl-Shift-L), boot the server anew, and look up NeuralAmp.",
}


@click.command()
@click.argument("host", type=click.Choice(["pd", "sc"]))
@click.option("--to", "parent", metavar="FOLDER", type=click.Path(file_okay=False, path_type=Path),
              help="Make FOLDER/neurig, rather than in the folder that the host searches.")
@click.option("--link", is_flag=True, help="Install a link to the files, rather than copies of them.")
@click.option("--remove", is_flag=True, help="Remove what was installed.")
def install(host: str, parent: Path | None, link: bool, remove: bool) -> None:
    """Put the objects for Pure Data (pd) or SuperCollider (sc) where it finds them.

    An older neurig is replaced. What others have put there is left alone, and named.

    \b
    pd    ~/.local/lib/pd/extra/neurig
    sc    ~/.local/share/SuperCollider/Extensions/neurig
    """
    if link and remove:
        raise click.UsageError("--link and --remove do not go together")
    from neurig import install as work

    where = parent or work.default_folder(host)
    if remove:
        removed = work.remove(where)
        click.echo(f"{removed}: removed" if removed else f"{where / 'neurig'}: there is nothing to remove")
        return
    click.echo(f"{work.install(host, where, link=link)}: installed")
    if parent:
        click.echo(f"{'Pd' if host == 'pd' else 'SuperCollider'} finds it where {parent} is on its search path.")
    click.echo(_NEXT[host])


@click.command()
@click.option("--to", "parent", metavar="FOLDER", default=Path(), help="Where to write it.  [default: here]",
              type=click.Path(exists=True, file_okay=False, writable=True, path_type=Path))
@click.option("--sources", is_flag=True, help="Write the package of sources, too, that deken wants; in a clone only.")
def package(parent: Path, sources: bool) -> None:
    """Pack the objects for Pure Data as a deken package, for machines like this one.

    Beside the package come its checksum and the list of its objects, as deken wants them. Pd installs it by
    Help → Find externals → Install DEK file.
    """
    from neurig import install

    for path in install.package(parent, sources=sources):
        click.echo(path)
