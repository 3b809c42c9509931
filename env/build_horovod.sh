#!/usr/bin/env bash
# Builds Horovod against the TensorFlow of a virtual environment and prints the path of the wheel. Wheels are
# cached: a second call with the same inputs only prints the path.
#
#   build_horovod.sh --venv DIR [--gpu] [--no-mpi]           build the wheel, or find it in the cache
#   build_horovod.sh --venv DIR [--gpu] [--no-mpi] --facts   print which MPI and CUDA a build would use
#   build_horovod.sh --compiler                              print which C++ compiler a build would use
#
# Horovod is always built with Gloo; with MPI if mpicxx exists, unless --no-mpi is given; with NCCL if --gpu is given
# and nvcc exists.
#
# CLOUDSEG_CACHE      folder of the wheel cache (default: ~/.cache/cloudseg)
# CXX                 the C++ compiler (default: g++, then c++)
# HOROVOD_CUDA_HOME   the CUDA toolkit (default: CUDA_HOME, then nvcc's)
# HOROVOD_NCCL_HOME   the NCCL to use (default: the one that TensorFlow loads)
# HOROVOD_BUILD_CUDA_CC_LIST   GPU architectures, such as 70,80 (default: all that nvcc knows)
set -euo pipefail

VERSION=0.28.1
SDIST_SHA256=92a43f5a94c43907a56805bad15f19700c62ffc83b7ca483f9e104e229f67ef0
# Used only if the machine has no cmake.
CMAKE_PIN=cmake==3.31.10
CMAKE_SHA256=2f766bb46367e5e0559fa33184653754bce044583a06014dcaebf8e6dff8a1f1

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${CLOUDSEG_CACHE:-$HOME/.cache/cloudseg}

say() { echo "horovod: $*" >&2; }
die() { echo "horovod: $*" >&2; exit 1; }
wrong_usage() { echo "horovod: $* (build_horovod.sh --help shows the usage)" >&2; exit 2; }
short_hash() { sha256sum | cut -c1-12; }
usage() { sed -n '2,/^set -/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; }

# ---------------------------------------------------------------- what is on this machine
find_compiler() {
  local name
  for name in ${CXX:+"$CXX"} g++ c++; do
    if command -v "$name" >/dev/null; then echo "$name"; return 0; fi
  done
  return 1
}

mpi_identity() {  # "none", or a hash that identifies the loaded MPI
  if [ "$with_mpi" = no ] || ! command -v mpicxx >/dev/null; then echo none; return 0; fi
  # the command line of the wrapper has the include and library folders (MPICH, Intel MPI and Open MPI)
  { mpicxx -show 2>&1 || mpicxx --showme 2>&1 || true; } | short_hash
}

find_nvcc() {
  local home=${HOROVOD_CUDA_HOME:-${CUDA_HOME:-${CUDA_PATH:-}}}
  if [ -n "$home" ] && [ -x "$home/bin/nvcc" ]; then echo "$home/bin/nvcc"; else command -v nvcc; fi
}

cuda_version() { "$1" --version | sed -n 's/.*release \([0-9.]*\),.*/\1/p'; }

cuda_identity() {  # "none", or the inputs of the GPU part of a build
  local nvcc version
  if [ "$gpu" = no ] || ! nvcc=$(find_nvcc); then echo none; return 0; fi
  version=$(cuda_version "$nvcc")
  # CUDA 13 cannot compile for V100; it is used only if the user names the architectures
  if [ "${version%%.*}" -ge 13 ] && [ -z "${HOROVOD_BUILD_CUDA_CC_LIST:-}" ]; then echo none; return 0; fi
  printf 'cuda%s-%s\n' "$version" \
    "$(echo "${HOROVOD_NCCL_HOME:-wheel} ${HOROVOD_BUILD_CUDA_CC_LIST:-all}" | short_hash)"
}

explain_no_cuda() {
  local nvcc reason="no nvcc here"
  ! nvcc=$(find_nvcc) || reason="CUDA $(cuda_version "$nvcc") cannot compile for V100"
  say "$reason, so allreduce runs on the CPU; for NCCL load CUDA 11.8 or 12 (for example:" \
    "module load cuda/12.2) and run the setup again"
}

tensorflow_and_python() {  # "TensorFlow's version, cpu or gpu, Python's tag, the C library, NCCL's version", on one line
  "$python" - <<'PY'
import importlib.metadata as metadata, platform, sys, sysconfig

found = {d.metadata["Name"].lower(): d.version for d in metadata.distributions()}
name = "tensorflow" if "tensorflow" in found else "tensorflow-cpu"
if name not in found:
    sys.exit("there is no TensorFlow in this environment yet")
flavour = "gpu" if name == "tensorflow" else "cpu"
nccl = next((version for package, version in found.items() if package.startswith("nvidia-nccl-")), "none")
print(found[name], flavour, sysconfig.get_config_var("SOABI"), "-".join(platform.libc_ver()), nccl)
PY
}

check_tools() {
  command -v make >/dev/null || die "make is missing: load or install it (Debian: apt install make)"
  compiler=$(find_compiler) || die "no C++ compiler: load one (for example: module load gcc/11) or install" \
    "it (Debian: apt install g++), then run the setup again"
  # the headers of TensorFlow 2.15 need C++17; g++ of CentOS 7 is GCC 4.8
  printf '%s\n' '#include <charconv>' '#include <filesystem>' '#include <optional>' 'int main() {}' |
    "$compiler" -std=c++17 -x c++ -fsyntax-only - 2>/dev/null ||
    die "$("$compiler" --version | head -1): this compiler has no full C++17; load GCC 9 or newer" \
      "(for example: module load gcc/11), then run the setup again"
}

# ---------------------------------------------------------------- the build
describe_build() {  # all inputs of the build, one per line; their hash is in the name of the wheel's folder
  echo "horovod $VERSION $SDIST_SHA256"
  echo "recipe $(cat "${BASH_SOURCE[0]}" "$here"/patches/horovod-*.patch | short_hash)"
  echo "tensorflow, python, libc, nccl $tf"
  echo "compiler $("$compiler" --version | head -1)"
  # Horovod uses these instructions if the machine that compiles has them
  echo "machine $(uname -m) $(grep -woE 'avx|f16c|fma' /proc/cpuinfo | sort -u | tr '\n' ' ')"
  echo "mpi $mpi $([ "$mpi" = none ] || mpirun --version 2>/dev/null | head -1)"
  echo "cuda $cuda"
  local flags
  flags=$(env | grep -E '^((C|CXX|CPP|LD)FLAGS|(HOROVOD|CMAKE)_[A-Z_]*)=' | LC_ALL=C sort || true)
  # code compiled with -march=native on one node may contain illegal instructions on another
  [[ $flags != *native* ]] || flags+=$(grep -m1 ^flags /proc/cpuinfo)
  echo "flags $(echo "$flags" | short_hash)"
}

is_whole() { (cd "$1" 2>/dev/null && sha256sum --check --status wheel.sha256 2>/dev/null); }

fetch_source() {
  printf 'horovod==%s --hash=sha256:%s\n' "$VERSION" "$SDIST_SHA256" >"$work/horovod.txt"
  "$python" -m pip download --no-deps --no-build-isolation --no-binary horovod --require-hashes \
    -d "$work" -r "$work/horovod.txt"
  tar xzf "$work/horovod-$VERSION.tar.gz" --no-same-owner -C "$work"
}

apply_patches() {
  local file
  cd "$work/horovod-$VERSION"
  for file in "$here"/patches/horovod-"$VERSION"-*.patch; do
    if command -v patch >/dev/null; then
      patch -p1 --batch <"$file"
    else
      # without the ceiling, git would find a repository around the cache and skip these files without an error
      GIT_CEILING_DIRECTORIES=$work git apply -p1 "$file"
    fi
  done
}

use_cmake() {  # the machine's cmake if it is new enough, else one from PyPI for this build only
  local version
  version=$(cmake --version 2>/dev/null | sed -n 's/^cmake version //p' || true)
  if [ -n "$version" ] && [ "$(printf '%s\n' 3.13 "$version" | sort -V | head -1)" = 3.13 ]; then
    HOROVOD_CMAKE=$(command -v cmake)
  else
    printf '%s --hash=sha256:%s\n' "$CMAKE_PIN" "$CMAKE_SHA256" >"$work/cmake.txt"
    "$python" -m pip install --no-deps --only-binary :all: --require-hashes --target "$work/cmake" \
      -r "$work/cmake.txt"
    HOROVOD_CMAKE=$work/cmake/cmake/data/bin/cmake
  fi
  export HOROVOD_CMAKE
  export CMAKE_POLICY_VERSION_MINIMUM=3.5  # without it cmake 4 refuses Gloo's old minimum; cmake 3 ignores it
}

use_nccl() {
  local wheel
  export HOROVOD_GPU_OPERATIONS=NCCL
  # nvcc may be a link or a script outside of the folder of its toolkit
  HOROVOD_CUDA_HOME=$("$(find_nvcc)" --dryrun -x cu -c /dev/null 2>&1 | sed -n 's/^#\$ TOP=//p')
  export HOROVOD_CUDA_HOME
  [ -z "${HOROVOD_NCCL_HOME:-}" ] || return 0
  # The NCCL that TensorFlow loads, so that a process never loads two. Its wheel lacks the plain .so name that the
  # linker needs.
  wheel=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/nvidia/nccl
  mkdir "$work/nccl" "$work/nccl/lib"
  ln -s "$wheel/include" "$work/nccl/include"
  ln -s "$wheel/lib/libnccl.so.2" "$work/nccl/lib/libnccl.so"
  export HOROVOD_NCCL_HOME=$work/nccl HOROVOD_NCCL_LINK=SHARED
  # relative to site-packages/horovod/tensorflow, the folder of the extension
  export LDFLAGS="${LDFLAGS:-} -Wl,-rpath,\$ORIGIN/../../nvidia/nccl/lib"
}

build() {
  fetch_source
  apply_patches
  use_cmake
  [ "$cuda" = none ] || use_nccl
  if [ "$mpi" = none ]; then export HOROVOD_WITHOUT_MPI=1; else export HOROVOD_WITH_MPI=1; fi
  export HOROVOD_WITH_GLOO=1 HOROVOD_WITH_TENSORFLOW=1 HOROVOD_WITHOUT_PYTORCH=1 HOROVOD_WITHOUT_MXNET=1
  export CXX=$compiler MAKEFLAGS=-j$jobs TF_CPP_MIN_LOG_LEVEL=2
  # cmake gets TensorFlow's flags from "python", which must be that of the environment
  export PATH=$venv/bin:${HOROVOD_CUDA_HOME:+$HOROVOD_CUDA_HOME/bin:}$PATH
  "$python" -m pip wheel -v --no-build-isolation --no-deps --no-cache-dir -w "$work/out" \
    "$work/horovod-$VERSION"
}

count_jobs() {  # a compiler process needs up to 1 GB; at most 8 processes, because a login node is shared
  local cores memory
  cores=$(nproc)
  memory=$(awk '/^MemAvailable/ {print int($2 / 1048576)}' /proc/meminfo)
  jobs=$((cores < memory ? cores : memory))
  jobs=$((jobs > 8 ? 8 : jobs < 1 ? 1 : jobs))
}

one_at_a_time() {  # of two setups that need a wheel, the second waits and then finds the wheel of the first
  command -v flock >/dev/null || return 0
  exec 8>"$wheels/.lock"
  local code=0
  flock -n -E 75 8 || code=$?
  case $code in
    0) ;;
    75) say "another setup is building Horovod, waiting for it"; flock 8 ;;
    *) say "$wheels is on a file system without locks: do not run two setups at once" ;;
  esac
}

main() {
  local facts_only=no
  venv='' gpu=no with_mpi=yes
  while [ $# -gt 0 ]; do
    case $1 in
      --venv) [ $# -ge 2 ] || wrong_usage "--venv needs a folder"; venv=$2; shift ;;
      --gpu) gpu=yes ;;
      --no-mpi) with_mpi=no ;;
      --facts) facts_only=yes ;;
      --compiler) check_tools; echo "$compiler"; exit 0 ;;
      -h | --help) usage; exit 0 ;;
      *) wrong_usage "unknown option $1" ;;
    esac
    shift
  done
  mpi=$(mpi_identity) cuda=$(cuda_identity)
  if [ $facts_only = yes ]; then echo "mpi=$mpi cuda=$cuda"; exit 0; fi
  python=$venv/bin/python
  [ -x "$python" ] || wrong_usage "--venv must name a virtual environment"
  venv=$(cd "$venv" && pwd) python=$venv/bin/python

  [ $gpu = no ] || [ "$cuda" != none ] || explain_no_cuda
  tf=$(tensorflow_and_python)
  check_tools
  local facts folder
  facts=$(describe_build)
  wheels=$cache/wheels
  folder=$wheels/horovod-$VERSION-tf${tf%% *}-$(echo "$facts" | short_hash)
  mkdir -p "$wheels"
  one_at_a_time
  if ! is_whole "$folder"; then
    rm -rf "$folder"  # damaged, if it is there
    count_jobs
    local log=$venv/horovod-build.log minutes=$(((270 / jobs + 60) / 60))
    local parts=Gloo
    [ "$mpi" = none ] || parts+=", MPI"
    [ "$cuda" = none ] || parts+=", NCCL"
    say "building Horovod $VERSION against TensorFlow ${tf%% *} ($parts), about $minutes min with" \
      "$jobs compiling at once; log: $log"
    # folders of killed builds
    find "$wheels" -maxdepth 1 -name '.build.*' -mmin +300 -exec rm -rf {} +
    work=$(mktemp -d "$wheels/.build.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    # a subshell, because "if ! (...)" would disable errexit inside
    set +e
    (set -e; build) </dev/null >"$log" 2>&1 8>&-
    local code=$?
    set -e
    if [ $code != 0 ]; then
      # the errors are far above the last lines of pip
      grep -nE -A 2 'CMake Error|[: ]error: |\*\*\* \[|^ERROR' "$log" | cut -c1-200 | head -n 15 >&2 ||
        tail -n 15 "$log" >&2
      die "the build failed; the whole log is $log"
    fi
    echo "$facts" >"$work/out/facts.txt"
    (cd "$work/out" && sha256sum horovod-*.whl >wheel.sha256)
    # a rename, so that other setups see no incomplete folder; if another setup was faster, its wheel is used
    mv -T "$work/out" "$folder" 2>/dev/null || is_whole "$folder"
  fi
  ls "$folder"/horovod-*.whl
}

main "$@"
