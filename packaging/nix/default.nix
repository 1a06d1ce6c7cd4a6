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
  inherit (python.pkgs) click falcon filelock httpx2 huggingface-hub jinja2 llguidance markdown-it-py mlx mlx-lm msgspec numpy packaging pluggy prometheus-client prompt-toolkit regex rich tokenizers tomlkit transformers waitress;
  core = distribution "mlxk-core" root [ click packaging pluggy ];
  plugin = name: dependencies: distribution "mlxk-${name}" (root + "/plugins/${name}") ([ core ] ++ dependencies);
  # Written by tools/recipes.py
  mlxk_config = plugin "config" [ click tomlkit ];
  mlxk_mlx = plugin "mlx" [ mlx mlx-lm jinja2 numpy regex transformers ];
  mlxk_convert = plugin "convert" [ mlxk_mlx click huggingface-hub mlx mlx-lm ];
  mlxk_protocol = plugin "protocol" [ msgspec ];
  mlxk_embeddings = plugin "embeddings" [ mlxk_protocol falcon click msgspec ];
  mlxk_encoders = plugin "encoders" [ mlxk_mlx mlx mlx-lm ];
  mlxk_gguf = plugin "gguf" [ mlxk_mlx mlx tokenizers transformers ];
  mlxk_launch = plugin "launch" [ click ];
  mlxk_messages = plugin "messages" [ mlxk_protocol falcon msgspec ];
  mlxk_hub = plugin "hub" [ huggingface-hub httpx2 msgspec ];
  mlxk_models = plugin "models" [ filelock huggingface-hub mlxk_hub rich click ];
  mlxk_ollama = plugin "ollama" [ mlxk_protocol falcon msgspec ];
  mlxk_pull = plugin "pull" [ click filelock httpx2 huggingface-hub mlxk_hub msgspec rich ];
  mlxk_reasoning = plugin "reasoning" [ ];
  mlxk_responses = plugin "responses" [ mlxk_protocol falcon msgspec ];
  mlxk_run = plugin "run" [ click markdown-it-py prompt-toolkit rich ];
  mlxk_serve = plugin "serve" [ mlxk_protocol falcon waitress msgspec prometheus-client click ];
  mlxk_service = plugin "service" [ click msgspec rich ];
  mlxk_smollm2 = plugin "smollm2" [ ];
  mlxk_structured = plugin "structured" [ llguidance numpy ];
in
python.pkgs.toPythonApplication (distribution "mlxk" (root + "/mlxk") [
  core
  mlxk_config
  mlxk_mlx
  mlxk_convert
  mlxk_protocol
  mlxk_embeddings
  mlxk_encoders
  mlxk_gguf
  mlxk_launch
  mlxk_messages
  mlxk_hub
  mlxk_models
  mlxk_ollama
  mlxk_pull
  mlxk_reasoning
  mlxk_responses
  mlxk_run
  mlxk_serve
  mlxk_service
  mlxk_smollm2
  mlxk_structured
])
