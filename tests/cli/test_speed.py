import pytest
from typer.testing import CliRunner

from lowdose.cli import app


@pytest.mark.slow
def test_bench_speed_writes_page_table_and_figure(tmp_path):
    result = CliRunner().invoke(
        app, ["bench", "speed", "-o", str(tmp_path), "--size", "64", "--rounds", "1"]
    )
    assert result.exit_code == 0, result.output
    assert sorted(p.name for p in tmp_path.iterdir()) == ["speed.csv", "speed.md", "speed.png"]
    page = (tmp_path / "speed.md").read_text("utf-8")
    assert "| 64 x 64 | everyday |" in page
    assert "`lowdose denoise --model everyday, 64 x 64 MRC`" in page


def test_a_folder_of_that_name_is_still_a_folder_of_truths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["bench", "./speed", "-o", "run"])
    assert result.exit_code != 0
    assert "speed" in result.output
