#!/usr/bin/env bash
# Makes the Python environment: the locked packages, Horovod compiled for them, and this project with its C++ library.
#
#   env/setup.sh [--gpu [--allow-cpu-allreduce]] [--no-mpi] [--as-job] [--help]
#
#   --gpu      TensorFlow with CUDA, Horovod with NCCL. It stops, before it writes anything, if there is no nvcc that can
#              compile for the GPUs of the site (compute_capability in its file)
#   --allow-cpu-allreduce   go on without such an nvcc: Horovod without NCCL, which sums gradients on the CPU
#   --no-mpi   Horovod without MPI, even if mpicxx exists
#   --as-job   download here, and compile in a Slurm job with the sbatch options `compile` of the site's file
#
# CLOUDSEG_SITE    name of a file in env/sites, or a path of one (default: ruche)
# PYTHON           the Python 3.11 to use (default: python3.11)
# CLOUDSEG_VENV    the environment's folder (default: .venv in the project)
# CLOUDSEG_CACHE   folder of compiled Horovod wheels (default: ~/.cache/cloudseg)
#
# It can be run again at any time: it does only the missing steps, also after an interruption.
# Exit codes: 0 ready, or with --as-job its job is queued; 1 failed, 2 wrong usage.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$(realpath -m "${CLOUDSEG_VENV:-$root/.venv}")
cache=${CLOUDSEG_CACHE:-$HOME/.cache/cloudseg}
sources=$cache/sources
gpu=no
no_mpi=no
allow_cpu_allreduce=no
as_job=no
options=("$@")
horovod_flags=()

# Modules of the cluster and pip settings of the user must not add packages to the environment or install outside it.
unset PYTHONPATH PYTHONHOME PIP_TARGET PIP_PREFIX
# Compiled files belong beside the packages: without them each start of TensorFlow compiles two thousand files again.
unset PYTHONDONTWRITEBYTECODE PYTHONPYCACHEPREFIX
export PIP_USER=0 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1

say() { echo "setup: $*"; }
die() { echo "setup: $*" >&2; exit 1; }
wrong_usage() { echo "setup: $*" >&2; exit 2; }
usage() { sed -n '2,/^set -/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; }
digest() { sha256sum | cut -d' ' -f1; }

logged() {  # logged NAME COMMAND...: runs the command with its output in a log; if it fails, prints the end of the log
  local log=$venv/setup-$1.log
  shift
  if ! "$@" </dev/null >"$log" 2>&1; then
    tail -n 15 "$log" >&2
    die "failed: $(basename "$1") ${*:2:3} ...; the whole log is $log"
  fi
}

# ---------------------------------------------------------------- what there is
base_of() {  # the Python installation of an interpreter; for an environment, the one that it was made with
  "$1" -c 'import os, sys; print(os.path.realpath(sys.base_prefix), *sys.version_info)'
}

is_python_311() { "$1" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; }

find_python() {
  local name
  if [ -n "${PYTHON:-}" ]; then
    is_python_311 "$PYTHON" || wrong_usage "PYTHON=$PYTHON is not a Python 3.11"
    python=$PYTHON
    return 0
  fi
  for name in "$venv/bin/python" python3.11 python3; do
    if is_python_311 "$name"; then
      # for an environment, the Python that it was made with
      python=$("$name" -c 'import sys; print(sys._base_executable)')
      return 0
    fi
  done
  die "Python 3.11 is needed, and there is no python3.11 here. On a cluster: module load python/3.11" \
    "(module avail python shows the names); on Debian 12: apt install python3.11-venv; or name it:" \
    "PYTHON=/path/to/python3.11 env/setup.sh"
}

check_machine() {
  "$python" -c 'import ensurepip, venv' 2>/dev/null ||
    die "$python cannot make environments: install its venv part (Debian: apt install python3.11-venv)"
  "$python" -c '
import platform, sys
name, version = platform.libc_ver()
old = name == "glibc" and tuple(map(int, version.split("."))) < (2, 28)
sys.exit(platform.system() != "Linux" or platform.machine() != "x86_64" or old)' ||
    die "the locked packages are for Linux on x86_64 with glibc 2.28 or newer (RHEL 8, Debian 10, later);" \
      "here: $(uname -sm), $(getconf GNU_LIBC_VERSION 2>/dev/null || echo 'no glibc')"
}

recorded() { sed -n "s/^$1=//p" "$venv/horovod.stamp" 2>/dev/null || true; }

find_digests() {  # digests of the inputs of Horovod and of the whole environment, to compare with the stamps
  local facts name
  facts_now=$("$root/env/build_horovod.sh" --venv "$venv" ${horovod_flags[@]+"${horovod_flags[@]}"} --facts)
  facts=$facts_now
  # If a module is not loaded now, an existing Horovod that was built with it is kept.
  for name in mpi cuda; do
    if [ -n "$(recorded $name)" ] && [ $name$no_mpi != mpiyes ]; then
      facts=${facts/$name=none/$name=$(recorded $name)}
    fi
  done
  cuda=${facts##*cuda=}
  horovod_digest=$({
    echo "$(base_of "$python") $facts"
    grep -hE '^(tensorflow|numpy|setuptools)' "$lock"
    cat "$root/env/build_horovod.sh" "$root"/env/patches/*
  } | digest)
  everything_digest=$({
    echo "$horovod_digest $root $venv"
    cat "$lock" "$root/env/setup.sh" "$root/setup.cfg" "$root/pyproject.toml" "$root"/preprocess/native/*.{cpp,h}
  } | digest)
}

is_ready() {
  [ "$(cat "$venv/setup.stamp" 2>/dev/null)" = "$everything_digest" ] && is_python_311 "$venv/bin/python"
}

find_site() {
  site=${CLOUDSEG_SITE:-ruche}
  case $site in
    *.toml) ;;
    *) site=$root/env/sites/$site.toml ;;
  esac
  [ -r "$site" ] || wrong_usage "CLOUDSEG_SITE: $site is not there; there are: $(ls "$root/env/sites")"
}

of_site() {  # of_site KEY: a text, or the items of a list, at the top of the site's file
  sed -n -e '/^\[/q' -e "s/^$1 *= *\[\{0,1\}\([^]]*\)\]\{0,1\} *$/\1/p" "$site" | tr -d '",'
}

require_nccl() {  # on GPUs, a Horovod without NCCL is slow for as long as the environment is used
  local nvcc home=${HOROVOD_CUDA_HOME:-${CUDA_HOME:-${CUDA_PATH:-}}} wanted reason
  [ $gpu = yes ] && [ $allow_cpu_allreduce = no ] || return 0
  # as build_horovod.sh finds it
  if [ -n "$home" ] && [ -x "$home/bin/nvcc" ]; then nvcc=$home/bin/nvcc; else nvcc=$(command -v nvcc || true); fi
  wanted=$(of_site compute_capability)
  if [ "$cuda" = none ] && [ -z "$nvcc" ]; then
    reason="there is no nvcc here"
  elif [ "$cuda" = none ]; then
    reason="$nvcc cannot compile for V100; for other GPUs name them, for example: export HOROVOD_BUILD_CUDA_CC_LIST=90"
  elif [ -n "$nvcc" ] && [ -n "$wanted" ] && ! "$nvcc" --list-gpu-arch 2>/dev/null | grep -qx "compute_${wanted/./}"; then
    reason="$nvcc cannot compile for the GPUs of $site, which have compute capability $wanted"
  else
    return 0
  fi
  die "$reason. Without NCCL, Horovod sums gradients on the CPU, which makes every training slow. Load CUDA 11.8 or 12" \
    "(for example: module load cuda/12.2; module avail cuda shows the names) and type the same again; or, to go on" \
    "without NCCL: env/setup.sh ${options[*]} --allow-cpu-allreduce"
}

# ---------------------------------------------------------------- the steps
one_at_a_time() {
  command -v flock >/dev/null || return 0
  mkdir -p "$cache"
  exec 9>"$cache/setup-$(echo "$venv" | digest | cut -c1-12).lock"
  local code=0
  flock -n -E 75 9 || code=$?
  case $code in
    0) ;;
    75) say "another setup is at work on $venv, waiting for it"; flock 9 ;;
    *) say "$cache is on a file system without locks: do not run two setups at once" ;;
  esac
}

wrong_environment() {  # true if the environment cannot be completed and must be made again
  local other=tensorflow
  [ $gpu = yes ] && other=tensorflow_cpu
  ! is_python_311 "$venv/bin/python" ||
    [ "$(base_of "$venv/bin/python")" != "$(base_of "$python")" ] ||
    ! "$venv/bin/python" -m pip --version >/dev/null 2>&1 ||
    # the two TensorFlow packages have the same files, so one cannot be removed without breaking the other
    compgen -G "$venv/lib/python3.11/site-packages/$other-*.dist-info" >/dev/null
}

make_environment() {
  if [ -e "$venv" ] && [ ! -e "$venv/pyvenv.cfg" ] && [ -n "$(find "$venv" -type f -print -quit)" ]; then
    wrong_usage "$venv is not a Python environment: move it away, or set CLOUDSEG_VENV"
  fi
  if wrong_environment; then
    say "making an environment in $venv, some seconds"
    # renamed first, because an interrupted deletion would leave a folder that is not recognised as an environment
    rm -rf "$venv.old"
    [ ! -e "$venv" ] || mv -T "$venv" "$venv.old"
    rm -rf "$venv.old"
    "$python" -m venv "$venv" || die "$python -m venv $venv failed"
  fi
  rm -f "$venv/setup.stamp"
  # pip treats a package with an interrupted installation as installed; INSTALLER is written after all other files
  local info
  for info in "$venv"/lib/python3.11/site-packages/*.dist-info; do
    [ -e "$info/INSTALLER" ] || rm -rf "$info"
  done
}

install_packages() {
  say "installing the packages of env/$(basename "$lock"), $package_time unless they are installed"
  # No dependency resolution, because the lock is complete. No bytecode: the check below imports the used modules, which
  # compiles only these.
  logged packages "$venv/bin/python" -m pip install --require-hashes --no-deps --only-binary :all: \
    --no-compile -r "$lock"
}

install_horovod() {
  local wheel
  [ "$(recorded digest)" != "$horovod_digest" ] || return 0
  wheel=$("$root/env/build_horovod.sh" --venv "$venv" ${horovod_flags[@]+"${horovod_flags[@]}"}) || exit 1
  rm -f "$venv/horovod.stamp"
  say "installing $(basename "$wheel")"
  logged horovod "$venv/bin/python" -m pip install --no-index --no-deps --force-reinstall --no-compile \
    "$wheel"
  # records the inputs of this build
  tr ' ' '\n' <<<"$facts_now" >"$venv/horovod.stamp"
  find_digests
  echo "digest=$horovod_digest" >>"$venv/horovod.stamp"
}

fetch_sources() {  # what build_horovod.sh downloads, for nodes without internet
  local VERSION SDIST_SHA256 CMAKE_PIN CMAKE_SHA256
  eval "$(grep -E '^(VERSION|SDIST_SHA256|CMAKE_PIN|CMAKE_SHA256)=' "$root/env/build_horovod.sh")"
  say "downloading the sources of Horovod and cmake to $sources"
  mkdir -p "$sources"
  printf 'horovod==%s --hash=sha256:%s\n' "$VERSION" "$SDIST_SHA256" >"$sources/horovod.txt"
  printf '%s --hash=sha256:%s\n' "$CMAKE_PIN" "$CMAKE_SHA256" >"$sources/cmake.txt"
  logged horovod-source "$venv/bin/python" -m pip download --no-deps --no-build-isolation --no-binary horovod \
    --require-hashes -d "$sources" -r "$sources/horovod.txt"
  logged cmake-source "$venv/bin/python" -m pip download --no-deps --only-binary :all: --require-hashes -d "$sources" \
    -r "$sources/cmake.txt"
}

queue_build() {  # the job types the same without --as-job; sbatch gives it this environment, with the loaded modules
  local option job words=()
  for option in ${options[@]+"${options[@]}"}; do [ "$option" = --as-job ] || words+=("$option"); done
  # shellcheck disable=SC2046 # one word per option
  job=$(printf '#!/usr/bin/env bash\nexec %s\n' "$(printf '%q ' "$root/env/setup.sh" ${words[@]+"${words[@]}"})" |
    PIP_NO_INDEX=1 PIP_FIND_LINKS=$sources CLOUDSEG_VENV=$venv PYTHON=$python sbatch --parsable --export=ALL \
      --job-name=cloudseg-setup --output="$venv/setup-job-%j.log" $(of_site compile)) ||
    die "sbatch refused the job; change \`compile\` in $site, or compile here: env/setup.sh ${words[*]-}"
  job=${job%%;*}
  say "job $job compiles Horovod and completes the environment; it is ready when the log ends with 'next: source ...'"
  say "follow: tail -F $venv/setup-job-$job.log"
}

build_native() {
  local library=$venv/lib/libcloudseg-native.so compiler source
  compiler=$("$root/env/build_horovod.sh" --compiler) || exit 1
  source=$(find "$root/preprocess/native" -name '*.cpp' -o -name '*.h' | LC_ALL=C sort)
  say "compiling preprocess/native, some seconds"
  # Renamed into place, so that a running preprocess keeps its loaded library. -ffp-contract=off: with contracted
  # operations the pixels would depend on the processor.
  logged native "$compiler" -std=c++17 -O3 -fno-math-errno -ffp-contract=off -Wall -Wextra -shared -fPIC \
    "-DSOURCE_SHA256=\"$(xargs -d '\n' cat <<<"$source" | digest)\"" -o "$library.new" "$root"/preprocess/native/*.cpp
  mv "$library.new" "$library"
}

install_project() {
  say "installing this project into the environment, some seconds"
  logged project "$venv/bin/python" -m pip install --no-deps --no-build-isolation -e "$root"
  logged check "$venv/bin/python" -m pip check
}

check_environment() {
  say "checking: importing everything and one Horovod allreduce, 10 to 30 seconds"
  logged horovod-check timeout 300 "$venv/bin/python" -c '
import os
for name in [name for name in os.environ if name.startswith("HOROVOD_")]:
    del os.environ[name]  # inside a job, too, this check is a single process
os.environ.update(HOROVOD_CONTROLLER="gloo", HOROVOD_CPU_OPERATIONS="gloo", SM_FRAMEWORK="tf.keras",
                  TF_CPP_MIN_LOG_LEVEL="3", NO_ALBUMENTATIONS_UPDATE="1", MPLBACKEND="Agg")
import albumentations, cv2, h5py, matplotlib.pyplot, pandas, submitit, tomli_w, tqdm
import tensorflow as tf
import horovod.tensorflow.keras as hvd
import segmentation_models
import cloudseg, preprocess.native

preprocess.native.library()
hvd.init()
with tf.device("/cpu:0"):
    total = hvd.allreduce(tf.constant([1.0, 2.0]), op=hvd.Sum).numpy().tolist()
assert hvd.size() == 1 and total == [1.0, 2.0], (hvd.size(), total)
built = [("Gloo", hvd.gloo_built()), ("MPI", hvd.mpi_built()), ("NCCL", hvd.nccl_built())]
print(f"TensorFlow {tf.__version__}, Horovod with", ", ".join(name for name, there in built if there))'
  ready=$(tail -n 1 "$venv/setup-horovod-check.log")
}

main() {
  while [ $# -gt 0 ]; do
    case $1 in
      --gpu) gpu=yes ;;
      --allow-cpu-allreduce) allow_cpu_allreduce=yes ;;
      --as-job) as_job=yes ;;
      --no-mpi) no_mpi=yes; horovod_flags+=(--no-mpi) ;;
      -h | --help) usage; exit 0 ;;
      *) wrong_usage "unknown option $1 (env/setup.sh --help shows them)" ;;
    esac
    shift
  done
  lock=$root/env/requirements.txt
  local package_time="about 1 minute"
  if [ $gpu = yes ]; then
    lock=$root/env/requirements-gpu.txt
    horovod_flags+=(--gpu)
    package_time="3 GB, about 5 minutes"
  fi
  find_site
  [ $as_job = no ] || command -v sbatch >/dev/null ||
    wrong_usage "--as-job: there is no sbatch on this machine; leave it out"
  find_python
  find_digests
  if is_ready; then say "nothing to do, $venv is ready"; return 0; fi
  require_nccl
  check_machine
  one_at_a_time
  find_digests
  if is_ready; then say "$venv is ready"; return 0; fi
  make_environment
  install_packages
  if [ $as_job = yes ] && [ "$(recorded digest)" != "$horovod_digest" ]; then
    fetch_sources
    queue_build
    return 0
  fi
  install_horovod
  build_native
  install_project
  check_environment
  echo "$everything_digest" >"$venv/setup.stamp"
  say "ready after $SECONDS s: $ready"
  say "next: source $venv/bin/activate"
}

main "$@"
