# Formula for a tap. The wheels of the libraries are installed as they are: building MLX takes the whole of Xcode.
class Mlxk < Formula
  include Language::Python::Virtualenv

  desc "Run and serve local language models on Apple's MLX"
  homepage "https://github.com/mlxk/mlxk"
  url "https://github.com/mlxk/mlxk/archive/refs/tags/v0.1.0.tar.gz"
  # sha256 is filled in at a release (RELEASING.md, step 9)
  license "Apache-2.0"
  head "https://github.com/mlxk/mlxk.git", branch: "main"

  depends_on arch: :arm64
  depends_on :macos
  depends_on "python@3.13"

  def install
    venv = virtualenv_create(libexec, "python3.13")
    system Formula["python@3.13"].opt_bin/"python3.13", "-m", "pip", "wheel", "--no-deps", "--wheel-dir", "wheels",
           ".", "./mlxk", *Dir["plugins/*"].map { |folder| "./#{folder}" }
    system Formula["python@3.13"].opt_bin/"python3.13", "-m", "pip", "--python=#{venv.root}/bin/python", "install",
           "--find-links", "wheels", "--constraint", "constraints.txt", "mlxk"
    bin.install_symlink libexec/"bin/mlxk"
  end

  service do
    run [opt_bin/"mlxk", "serve", "--log-json", "--ttl", "30m"]
    keep_alive crashed: true
    log_path var/"log/mlxk.log"
    error_log_path var/"log/mlxk.log"
  end

  test do
    assert_match version.to_s, shell_output("#{bin}/mlxk --version")
    system bin/"mlxk", "plugins", "--check"
  end
end
