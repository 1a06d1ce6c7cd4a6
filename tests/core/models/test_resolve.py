"""One resolver for everybody: what a user typed becomes the model that is meant, or an error that helps."""

from pathlib import Path

import pytest

from mlxk_core._errors import AmbiguousModel, BrokenModel, ModelNotFound, RevisionNotFound, UnsupportedModel
from mlxk_core._models.resolve import Resolver

MAIN, OTHER, THIRD = "a1b2c3d4" * 5, "ffee0011" * 5, "a1ff" * 10


@pytest.fixture
def resolver(stand_in):
    return Resolver(stand_in())


def test_a_full_name_is_the_model_at_refs_main(hub, resolver):
    hub("org/name", commit=OTHER, ref=None)
    snapshot = hub("org/name")
    model = resolver.resolve("org/name")
    assert (model.name, model.path, model.revision, model.origin) == ("org/name", snapshot, MAIN, "hub")


def test_an_exact_name_beats_the_longer_ones_that_contain_it(hub, resolver):
    for name in ("org/llama", "org/llama-instruct", "mlx-community/llama", "other/org/llama".replace("/org", "-org")):
        hub(name)
    assert resolver.resolve("org/llama").name == "org/llama"
    assert resolver.resolve("llama").name == "mlx-community/llama"
    assert resolver.resolve("MLX-COMMUNITY/LLAMA").name == "mlx-community/llama"
    assert resolver.resolve("Llama").name == "mlx-community/llama"


def test_a_full_name_is_found_among_any_number_of_models(hub, resolver, tmp_path):
    """Each request for a model looked at all of them, 100 s for 100,000 links, and the last were not found."""
    hub("org/name")
    numbers = range(11_000)
    for number in numbers:
        (tmp_path / "hub" / f"models--org--{number}").symlink_to("models--org--name")
        (tmp_path / "hub" / f"models--mlx-community--{number}").symlink_to("models--org--name")
    assert all(resolver.exact(f"org/{number}").name == f"org/{number}" for number in numbers)
    assert all(resolver.exact(f"{number}@main").name == f"mlx-community/{number}" for number in numbers[::100])
    assert all(resolver.exact(f"hub:org/{number}").name == f"org/{number}" for number in numbers[::100])
    assert all(resolver.find(f"org/{number}").name == f"org/{number}" for number in numbers[::2000])
    for name in ("ORG/1", "org--1", "org/1/", "models--org--1", "org/../org/1", "..", "org/x", "\0"):
        assert resolver.exact(name) is None


def test_a_part_of_a_name_is_enough_when_it_fits_one(hub, resolver):
    hub("org/Qwen3-0.6B-4bit")
    hub("org/Llama-3.2-1B")
    assert resolver.resolve("qwen3").name == "org/Qwen3-0.6B-4bit"
    assert resolver.resolve("ORG/qwen").name == "org/Qwen3-0.6B-4bit"


def test_a_part_that_fits_several_lists_them(hub, resolver, stand_in, source, tmp_path):
    hub("org/Qwen3-8B")
    hub("org/Qwen3-0.6B")
    with pytest.raises(AmbiguousModel) as caught:
        Resolver(stand_in(source({"qwen3-mini": tmp_path}))).resolve("qwen3")
    assert sorted(caught.value.candidates) == ["org/Qwen3-0.6B", "org/Qwen3-8B", "qwen3-mini"]


@pytest.mark.parametrize("nothing", ["", "   ", "@main", ":Q4_0"])
def test_an_empty_name_matches_nothing(hub, resolver, nothing):
    hub("org/only")
    with pytest.raises(ModelNotFound):
        resolver.resolve(nothing)
    assert resolver.exact(nothing) is None


def test_a_missing_hub_name_says_how_to_get_it(hub, resolver):
    hub("org/name")
    with pytest.raises(ModelNotFound, match="`mlxk pull org/other@v1`"):
        resolver.resolve("org/other@v1")
    with pytest.raises(ModelNotFound, match="mlxk list"):
        resolver.resolve("other")


def test_a_refused_download_leaves_nothing_that_could_be_meant(hub, resolver, tmp_path):
    hub("org/name-full")
    refs = tmp_path / "hub" / "models--org--name" / "refs"
    refs.mkdir(parents=True)
    (refs / "main").write_text(MAIN)
    assert resolver.resolve("name").name == "org/name-full"
    assert [model.name for model in resolver.all()] == ["org/name-full"]


# Revisions


@pytest.mark.parametrize("revision", ["v1", "refs/pr/7", "ffee", OTHER, OTHER.upper(), "f"])
def test_a_branch_a_tag_or_the_beginning_of_a_commit_names_a_revision(hub, resolver, revision):
    hub("org/name")
    hub("org/name", commit=OTHER, ref="v1")
    (resolver.resolve("org/name").path.parents[1] / "refs" / "refs" / "pr").mkdir(parents=True)
    (resolver.resolve("org/name").path.parents[1] / "refs" / "refs" / "pr" / "7").write_text(OTHER)
    assert resolver.resolve(f"name@{revision}").revision == OTHER


@pytest.mark.parametrize("revision", ["v9", "0", "", "xyz"])
def test_an_unknown_revision_lists_those_that_are_here(hub, resolver, revision):
    hub("org/name")
    hub("org/name", commit=OTHER, ref="v1")
    with pytest.raises(RevisionNotFound, match="main = a1b2c3d, v1 = ffee001"):
        resolver.resolve(f"org/name@{revision}")


def test_a_beginning_of_several_commits_lists_them(hub, resolver):
    hub("org/name")
    hub("org/name", commit=THIRD, ref=None)
    with pytest.raises(AmbiguousModel, match="2 revisions: org/name@a1b2c3d4a1b2, org/name@a1ffa1ffa1ff"):
        resolver.resolve("org/name@a1")


def test_a_revision_tells_models_apart_that_a_part_of_a_name_does_not(hub, resolver):
    hub("org/name-a")
    hub("org/name-b", commit=OTHER)
    assert resolver.resolve("name@ffee").name == "org/name-b"
    with pytest.raises(AmbiguousModel):
        resolver.resolve("name@0000")


def test_a_main_revision_whose_files_are_elsewhere_is_never_replaced_by_another(hub, resolver):
    hub("org/name", commit=OTHER, ref=None)
    (snapshot,) = [model.path for model in resolver.all()]
    refs = snapshot.parents[1] / "refs"
    refs.mkdir()
    (refs / "main").write_text(MAIN)
    with pytest.raises(RevisionNotFound, match=r"Local revisions: ffee001.*`mlxk pull org/name`"):
        resolver.resolve("org/name")
    assert [(model.revision, model.files) for model in resolver.all()] == [(MAIN, ())]
    assert resolver.resolve("org/name@ffee").revision == OTHER


# Paths


def test_a_folder_and_a_gguf_file_are_models(tmp_path, resolver, gguf, monkeypatch, folder):
    folder({"config.json": {}, "a.gguf": gguf()}, name="mine@1:2")
    monkeypatch.chdir(tmp_path)
    for reference in ("./mine@1:2", str(tmp_path / "mine@1:2"), "mine@1:2/"):
        model = resolver.find(reference)
        assert (model.name, model.path, model.origin, model.revision) == (
            "mine@1:2",
            tmp_path / "mine@1:2",
            "path",
            None,
        )
    assert resolver.resolve("mine@1:2/a.gguf").gguf_path == tmp_path / "mine@1:2" / "a.gguf"
    monkeypatch.chdir(tmp_path / "mine@1:2")
    assert resolver.find(".").name == "mine@1:2"


def test_a_path_that_is_not_there_is_an_error_and_no_name(hub, resolver, tmp_path, monkeypatch):
    hub("org/name")
    monkeypatch.chdir(tmp_path)
    for reference in ("./name", "../name", "/name", "name/", "~/name", "name.gguf", "./org/name"):
        with pytest.raises(ModelNotFound, match="No such file or folder"):
            resolver.resolve(reference)


def test_a_relative_folder_without_a_dot_is_a_name_and_the_error_says_how_to_write_it(
    resolver, folder, monkeypatch, tmp_path, hub_cache
):
    folder({"config.json": {}}, name="mine")
    (tmp_path / "org").mkdir()
    (tmp_path / "mine").rename(tmp_path / "org" / "mine")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelNotFound, match=r"folder of that name, write `\./org/mine`") as raised:
        resolver.resolve("org/mine")
    assert not raised.value.pullable
    with pytest.raises(ModelNotFound, match="list --all"):  # a folder, but no model
        resolver.resolve("org")


@pytest.mark.parametrize(
    "reference, pullable",
    [(name, True) for name in ("org/name", "org/name@v1", "org/name:Q4_0", "name")]
    + [(name, False) for name in ("", "a/b/c", "two words", "name.gguf", "name/", "./name", "n" * 5000, "n\0")]
    + [("smollm2", False)],
)
def test_what_a_hub_may_have_can_be_pulled(hub_cache, stand_in, source, reference, pullable):
    resolver = Resolver(stand_in(source({}, missing=("smollm2",))))
    with pytest.raises(ModelNotFound) as raised:
        resolver.resolve(reference)
    assert raised.value.pullable is pullable


def test_a_folder_or_file_that_is_no_model_is_refused(tmp_path, resolver):
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(ModelNotFound, match=r"has no config\.json"):
        resolver.resolve(str(tmp_path))
    with pytest.raises(ModelNotFound, match="neither a folder nor"):
        resolver.resolve(str(tmp_path / "notes.txt"))


def test_a_repository_may_be_called_like_a_file(hub, resolver):
    hub("org/model.gguf")
    assert resolver.resolve("org/model.gguf").name == "org/model.gguf"


# Sources


def test_a_source_is_asked_by_exact_name_and_by_part(hub, stand_in, source, tmp_path):
    resolver = Resolver(stand_in(source({"smollm2": tmp_path}, missing=("bigllm",))))
    assert resolver.resolve("smollm2").origin == "source"
    assert resolver.resolve("SmolLM").path == tmp_path
    with pytest.raises(ModelNotFound, match="pip install it"):
        resolver.resolve("bigllm")
    with pytest.raises(RevisionNotFound, match="has no revisions"):
        resolver.resolve("smollm2@main")
    assert [model.name for model in resolver.all()] == ["smollm2"]


def test_a_full_name_of_a_source_beats_a_name_with_its_owner_left_out(hub, stand_in, source, tmp_path):
    hub("mlx-community/smollm2")
    resolver = Resolver(stand_in(source({"smollm2": tmp_path})))
    assert resolver.resolve("smollm2").origin == "source"
    assert resolver.resolve("mlx-community/smollm2").origin == "hub"
    assert resolver.exact("smollm2").origin == "source"
    with pytest.raises(RevisionNotFound, match="source s0"):
        resolver.exact("smollm2@main")


def test_the_same_name_from_two_places_is_said_with_the_places(hub, stand_in, source, tmp_path):
    hub("smollm2")
    with pytest.raises(AmbiguousModel, match=r"hub:smollm2, s0:smollm2"):
        Resolver(stand_in(source({"smollm2": tmp_path}))).resolve("smollm2")


def test_a_name_of_a_source_may_hold_a_colon(stand_in, source, tmp_path, hub):
    resolver = Resolver(stand_in(source({"llama3:8b": tmp_path})))
    assert resolver.resolve("llama3:8b").path == resolver.exact("llama3:8b").path == tmp_path


# GGUF variants


def files(gguf, *names: str) -> dict[str, bytes]:
    return {name: gguf() for name in names}


def test_the_only_variant_of_a_repository_is_meant(hub, resolver, gguf):
    snapshot = hub("org/m-GGUF", files(gguf, "m-q4_0.gguf", "mmproj-f16.gguf"))
    assert resolver.resolve("m-gguf").gguf_path == snapshot / "m-q4_0.gguf"
    assert resolver.resolve("org/m-GGUF:Q4_0").variant == "Q4_0"


def test_a_variant_is_named_after_a_colon(hub, resolver, gguf):
    snapshot = hub("org/m-GGUF", files(gguf, "m-Q4_0.gguf", "m-Q8_0.gguf"))
    for reference in ("org/m-GGUF:q8_0", "m:Q8_0", "org/m-GGUF@main:Q8_0", f"m@{MAIN[:8]}:q8_0"):
        assert resolver.resolve(reference).gguf_path == snapshot / "m-Q8_0.gguf"
    with pytest.raises(
        ModelNotFound, match=r"Local variants: org/m-GGUF:Q4_0, org/m-GGUF:Q8_0. Run `mlxk pull org/m-GGUF:Q5_0`"
    ):
        resolver.resolve("m:Q5_0")
    hub("org/no-gguf")
    with pytest.raises(ModelNotFound, match="has no GGUF variants"):
        resolver.resolve("no-gguf:Q4_0")


def test_of_several_variants_the_one_that_runs_is_meant(hub, stand_in, gguf):
    hub("org/m", files(gguf, "m-Q4_0.gguf", "m-IQ2_XS.gguf", "m-Q8_0-00001-of-00002.gguf"))
    resolver = Resolver(stand_in(accepts=lambda model: model.variant in ("Q4_0", "Q8_0")))
    assert resolver.resolve("m").variant == "Q4_0"


def test_several_variants_that_run_are_listed_as_they_are_typed(hub, resolver, gguf, folder):
    hub("org/m", files(gguf, "m-Q4_0.gguf", "m-Q8_0.gguf"))
    with pytest.raises(AmbiguousModel, match=r"2 variants: org/m:Q4_0, org/m:Q8_0\."):
        resolver.resolve("m")
    assert [variant.name for variant in resolver.find("m").variants] == ["Q4_0", "Q8_0"]
    local = folder(files(gguf, "m-Q4_0.gguf", "m-Q8_0.gguf"))
    with pytest.raises(AmbiguousModel) as caught:
        resolver.resolve(str(local.path))
    assert resolver.resolve(caught.value.candidates[0]).gguf_path == local.path / "m-Q4_0.gguf"


def test_variants_none_of_which_runs_say_why(hub, stand_in, gguf):
    hub("org/m", files(gguf, "m-IQ1_S.gguf", "m-IQ2_XS.gguf"))
    with pytest.raises(UnsupportedModel, match="IQ1_S: IQ1_S is not supported; IQ2_XS: IQ2_XS is not supported"):
        Resolver(stand_in(accepts=lambda model: False)).resolve("m")


def test_a_variant_with_missing_shards_is_broken(hub, resolver, gguf):
    hub("org/m", files(gguf, "m-Q8_0-00001-of-00003.gguf", "m-Q8_0-00002-of-00003.gguf"))
    with pytest.raises(BrokenModel, match=r"2 of 3 files.*`mlxk pull org/m:Q8_0`"):
        resolver.resolve("m")


def test_weights_beside_the_variants_are_run_as_they_are(hub, stand_in, gguf, safetensors):
    hub("org/m", {"model.safetensors": safetensors(), **files(gguf, "m-Q4_0.gguf", "m-Q8_0.gguf")})
    assert Resolver(stand_in()).resolve("m").variant is None
    only_gguf = Resolver(stand_in(accepts=lambda model: model.variant == "Q8_0"))
    assert only_gguf.resolve("m").variant == "Q8_0"
    assert only_gguf.find("m").variant is None


# Tags, parts, misspellings and origins


@pytest.fixture
def qwen(hub):
    for name in ("Qwen3-0.6B-4bit", "Qwen3-4B-4bit", "Qwen3-4B-8bit", "Qwen3-30B-A3B-4bit"):
        hub(f"mlx-community/{name}")


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("qwen3:0.6b", "Qwen3-0.6B-4bit"),
        ("qwen3:30b", "Qwen3-30B-A3B-4bit"),
        ("qwen3:8bit", "Qwen3-4B-8bit"),
        ("qwen3-8bit", "Qwen3-4B-8bit"),
        ("qwen3 4b 8bit", "Qwen3-4B-8bit"),
        ("QWEN3/0.6B", "Qwen3-0.6B-4bit"),
    ],
)
def test_tags_and_unique_parts_narrow(qwen, resolver, reference, name):
    assert resolver.resolve(reference).name == f"mlx-community/{name}"


def test_a_name_without_its_owner_beats_the_longer_ones_that_contain_it(hub, resolver):
    for name in ("acme/tiny", "local/tiny-4bit", "other/tiny-8bit"):
        hub(name)
    assert resolver.find("TINY").name == "acme/tiny"
    assert resolver.find("tiny:8bit").name == "other/tiny-8bit"
    hub("other/tiny")
    with pytest.raises(AmbiguousModel) as error:
        resolver.find("tiny")
    assert set(error.value.candidates) == {"acme/tiny", "other/tiny"}


def test_a_tag_that_leaves_several_lists_those(qwen, resolver):
    with pytest.raises(AmbiguousModel) as raised:
        resolver.resolve("qwen3:4b")
    assert sorted(raised.value.candidates) == ["mlx-community/Qwen3-4B-4bit", "mlx-community/Qwen3-4B-8bit"]


def test_an_ambiguous_name_shows_the_ten_closest_one_per_line(hub, resolver):
    for number in range(1, 15):
        hub(f"mlx-community/Model-{number}B-4bit")
    with pytest.raises(AmbiguousModel) as raised:
        resolver.resolve("model")
    assert len(raised.value.candidates) == 14
    assert list(raised.value.lines) == [*raised.value.candidates[:10], "and 4 more"]
    assert raised.value.candidates[:2] == ["mlx-community/Model-1B-4bit", "mlx-community/Model-2B-4bit"]


@pytest.mark.parametrize("reference", ["smolm2", "smollm-2", "Smolllm2"])
def test_a_misspelled_name_is_suggested_and_not_pulled(hub, stand_in, source, tmp_path, reference):
    resolver = Resolver(stand_in(source({"smollm2": tmp_path})))
    with pytest.raises(ModelNotFound, match="Did you mean `smollm2`") as raised:
        resolver.resolve(reference)
    assert not raised.value.pullable


def test_another_number_is_another_model_and_no_misspelling(qwen, resolver):
    with pytest.raises(ModelNotFound) as raised:
        resolver.resolve("Qwen3-8B-4bit")
    assert raised.value.pullable and "Did you mean" not in str(raised.value)


def test_an_origin_chooses_between_models_of_one_name(hub, stand_in, source, tmp_path):
    hub("smollm2")
    resolver = Resolver(stand_in(source({"smollm2": tmp_path})))
    assert resolver.resolve("hub:smollm2").origin == "hub"
    assert resolver.resolve("s0:smollm2").origin == "source"
    assert resolver.exact("hub:smollm2").origin == "hub"
    assert resolver.resolve(f"hub:smollm2@{MAIN[:7]}").revision == MAIN


# Listing, and the names a server takes


def test_all_models_are_listed_by_name_whatever_state_they_are_in(hub, stand_in, source, tmp_path):
    hub("org/b", {"config.json": b"{ broken"})
    hub("Org/a", {"m-Q4_0.gguf": b"junk", "m-Q8_0.gguf": b""})
    hub("org/c")
    models = Resolver(stand_in(source({"local": Path("/nowhere")}))).all()
    assert [model.name for model in models] == ["local", "Org/a", "org/b", "org/c"]
    assert {model.variant for model in models} == {None}


def test_a_server_takes_listed_names_only(hub, stand_in, source, folder, gguf):
    hub("org/name")
    hub("mlx-community/Qwen")
    hub("org/G", files(gguf, "m-Q4_0.gguf", "m-Q8_0.gguf"))
    local = folder({"config.json": {}})
    resolver = Resolver(stand_in(source({"smollm2": local.path})))
    assert resolver.exact("org/name").name == "org/name"
    assert resolver.exact("org/name@main").revision == MAIN
    assert resolver.exact(f"org/name@{MAIN[:7]}").revision == MAIN
    assert resolver.exact("Qwen").name == "mlx-community/Qwen"
    assert resolver.exact("smollm2").origin == "source"
    assert resolver.exact("org/G:q8_0").variant == "Q8_0"
    for name in ("name", "ORG/NAME", str(local.path), "./model", "..", "", "org/nam"):
        assert resolver.exact(name) is None
    with pytest.raises(RevisionNotFound):
        resolver.exact("org/name@v9")
