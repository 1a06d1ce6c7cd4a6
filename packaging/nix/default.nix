# nix-build packaging/nix: mlxk with nixpkgs' Python packages. mlxk-openblas is left out: MLX in nixpkgs links a BLAS of its own.
{ pkgs ? import <nixpkgs> { } }:
let
  python = pkgs.python312;
  root = ../..;
  distribution = name: source: dependencies: python.pkgs.buildPythonPackage {
    pname = name;
    version = "0.1.0";
    src = source;
    pyproject = true;
    build-system = [ python.pkgs.flit-core ];
    inherit dependencies;
    dontCheckRuntimeDeps = true; # nixpkgs' versions lead ours at times
    doCheck = false;
  };
  inherit (python.pkgs) click falcon filelock huggingface-hub jsonschema mlx mlx-lm msgspec numpy packaging pluggy referencing regex rich tokenizers transformers waitress;
  core = distribution "mlxk-core" root [ click packaging pluggy ];
  plugin = name: dependencies: distribution "mlxk-${name}" (root + "/plugins/${name}") ([ core ] ++ dependencies);
  hub = plugin "hub" [ huggingface-hub ];
  engine = plugin "mlx" [ mlx mlx-lm numpy regex transformers ];
in
python.pkgs.toPythonApplication (distribution "mlxk" (root + "/mlxk") [
  core
  hub
  engine
  (plugin "gguf" [ engine mlx tokenizers transformers ])
  (plugin "models" [ click filelock hub huggingface-hub rich ])
  (plugin "pull" [ click filelock hub huggingface-hub rich ])
  (plugin "reasoning" [ ])
  (plugin "run" [ click ])
  (plugin "serve" [ click falcon jsonschema msgspec referencing waitress ])
  (plugin "smollm2" [ ])
])
