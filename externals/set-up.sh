#!/usr/bin/env bash
# Makes a machine ready for neurig: system packages, the Python environment in .venv/, and the compiled parts.
# `./run` and `./check` call it each time; where nothing is left to do it takes a few hundredths of a second.
# With `train` as its argument it also installs what training needs, PyTorch before all.
# What it says goes to stderr, what the steps print goes to build/set-up.log.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
here=$PWD
log=$here/build/set-up.log

# ---- What is needed from the system: Debian package, a file of it that must be there, what for ----------------------

needed='
g++                     bin g++                                compiling
libspeexdsp-dev         lib libspeexdsp.a                      sample-rate conversion
libfftw3-dev            lib libfftw3f.a                        convolution
libsndfile1-dev         inc sndfile.h                          sound files as impulse responses
jackd2                  bin jack_wait                          the JACK sound server
puredata-core           bin pd                                 Pure Data
puredata-gui            bin pd-gui                             windows of Pure Data
puredata-dev            inc m_pd.h                             objects for Pure Data
supercollider-server    bin scsynth                            the SuperCollider server
supercollider-supernova bin supernova                          its parallel server
supercollider-language  bin sclang                             the SuperCollider language
supercollider-dev       inc SuperCollider/plugin_interface/SC_PlugIn.h  UGens for SuperCollider
xvfb                    bin Xvfb                               tests: a screen without a screen
xdotool                 bin xdotool                            tests: mouse and keyboard
imagemagick             bin import                             tests: pictures of patches
'

is_there() { # kind name: a program on PATH, a header, or a library
  case $1 in
    bin) command -v "$2" >/dev/null ;;
    inc) compgen -G "/usr/include/$2" >/dev/null || compgen -G "/usr/local/include/$2" >/dev/null ;;
    lib) compgen -G "/usr/lib/*/$2" >/dev/null || compgen -G "/usr/lib*/$2" >/dev/null ||
         compgen -G "/usr/local/lib/$2" >/dev/null ;;
  esac
}

missing_packages() { # prints one a line: package (what for)
  local package kind name purpose
  while read -r package kind name purpose; do
    [ -z "$package" ] || is_there "$kind" "$name" || echo "$package ($purpose)"
  done <<<"$needed"
  find_python
  if [ -z "$python" ]; then
    printf '%s\n' 'python3 (3.11 or newer)' 'python3-venv (Python environments)' 'python3-dev (compiling for Python)'
  elif [[ $python == /usr/bin/* ]]; then # Debian cuts Python into packages; any other Python comes whole
    "$python" -c 'import ensurepip, venv' 2>/dev/null || echo 'python3-venv (Python environments)'
    "$python" -c 'import os, sysconfig; os.stat(sysconfig.get_path("include") + "/Python.h")' 2>/dev/null ||
      echo 'python3-dev (compiling for Python)'
  fi
}

find_python() { # sets `python`: 3.11 where there is one, else the first that is newer
  local name
  for name in python3.11 python3 /usr/bin/python3.11 /usr/bin/python3; do
    python=$(command -v "$name") &&
      "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && return
  done
  python=
}

# ---- Saying things --------------------------------------------------------------------------------------------------

say() { printf '%s\n' "$*" >&2; }

step() { # names what begins; opens the log at the first one
  if [ -z "${steps:-}" ]; then
    say "Setting up neurig. On a fresh machine this takes some minutes, later none. Details: $log"
    { echo "neurig set-up, $(date)"; uname -a; } >"$log"
  fi
  steps=$((${steps:-0} + 1))
  say "  $steps. $*"
  printf '\n==== %s\n' "$*" >>"$log"
}

logged() { printf '+ %s\n' "$*" >>"$log"; "$@" >>"$log" 2>&1 </dev/null; }

give_up() { # what failed, what to do
  say ""
  say "neurig could not be set up: $1"
  [ -s "$log" ] && [ -n "${steps:-}" ] && { say "The last lines of $log:"; tail -n 12 "$log" | sed 's/^/    /' >&2; }
  say "What to do: $2"
  exit 1
}

# ---- The steps ------------------------------------------------------------------------------------------------------

system_packages() {
  local missing list packages root=()
  missing=$(missing_packages)
  [ -z "$missing" ] && return
  list="    ${missing//$'\n'/$'\n    '}"
  packages=$(cut -d ' ' -f 1 <<<"$missing" | xargs)
  command -v apt-get >/dev/null || give_up "these are missing, and this system has no apt-get to install them with
$list" "install them in your system's own way (the names are Debian's), then start again."
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || give_up "these system packages are missing, and you are neither root nor is there sudo
$list" "ask whoever looks after this machine to run
    apt-get install --no-install-recommends $packages
then start again."
    root=(sudo)
    [ -t 0 ] || root=(sudo -n) # nobody is there to type a password
  fi
  step "System packages: $packages"
  if [ ${#root[@]} != 0 ]; then
    "${root[@]}" true || give_up "sudo refused, and these are missing
$list" "start again and give your password, or have them installed by whoever may."
  fi
  root+=(env DEBIAN_FRONTEND=noninteractive)
  local apt=(apt-get -y -q -o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-confold)
  logged "${root[@]}" dpkg --configure -a # takes up what an interrupted installation left
  logged "${root[@]}" "${apt[@]}" update || say "     (the package lists could not all be renewed; trying with those at hand)"
  # shellcheck disable=SC2086 # a list of names
  logged "${root[@]}" "${apt[@]}" install --no-install-recommends $packages ||
    give_up "the system packages could not be installed ($packages)" \
      "see whether this machine has a network and room on its disk; the log names what apt met. Then start again."
  hash -r
  missing=$(missing_packages)
  [ -z "$missing" ] || give_up "installed, but still not found
    ${missing//$'\n'/$'\n    '}" "see in the log what was installed, and where."
}

# A step that is done leaves a note in .venv of what it was done for; it is done again when that has changed. A step that
# is interrupted leaves none.
is_done() { [ "$2" = "$(cat ".venv/$1.done" 2>/dev/null)" ]; }
note_done() { printf '%s\n' "$2" >".venv/$1.done"; }

python_environment() {
  [ -x .venv/bin/python ] && is_done environment "$here" && return
  # there is none, or it was interrupted, or this folder has been moved since
  find_python
  step "Python environment .venv ($("$python" --version 2>&1), $python)"
  logged "$python" -m venv --clear .venv ||
    give_up "the Python environment could not be made with $python" "see that there is room on the disk and that \
you may write to $here; remove the folder .venv, then start again."
  note_done environment "$here"
}

requirements() { # what pyproject.toml names: `build`, or extras by their names; those of the package go with each
  .venv/bin/python - "$@" >build/requirements.txt <<'END' || give_up "pyproject.toml is broken" "put it back as it was."
import sys
import tomllib
with open("pyproject.toml", "rb") as file:
    settings = tomllib.load(file)
project = settings["project"]
groups = {"build": settings["build-system"]["requires"]} | project["optional-dependencies"]
print(*project["dependencies"], *(line for name in sys.argv[1:] for line in groups[name]), sep="\n")
END
}

pip_install() { # what requirements found
  logged .venv/bin/pip install --disable-pip-version-check --no-input -r build/requirements.txt ||
    give_up "the Python packages could not be installed" "see whether this machine has a network and room on its \
disk; the log names the package. Then start again: what was already fetched is kept."
}

python_packages() {
  local state; state=$(sha256sum <pyproject.toml)
  is_done packages "$state" && return
  rm -f .venv/*.done
  step "Python packages (about 400 MB with those for tests)"
  requirements build test
  pip_install
  note_done environment "$here"
  note_done packages "$state"
}

training_packages() {
  local state; state=$(sha256sum <pyproject.toml)
  is_done training "$state" && return
  step "Python packages for training (PyTorch, from 1 GB to 5 GB)"
  requirements train
  pip_install
  note_done training "$state"
}

build_state() { # the sources of what is compiled, and the files that came of them
  find externals setup.py -type f ! -path '*/__pycache__/*' -print0 | sort -z | xargs -0 sha256sum
  find bridge pd sc -type f \( -name '*.so' -o -name '*.pd_linux' \) -printf '%p %s %T@\n' | sort
}

compiled_parts() {
  is_done build "$(build_state)" && return
  step "Compiling: Python module, Pure Data objects, SuperCollider UGens"
  logged .venv/bin/python externals/build.py ||
    give_up "compiling failed" "if you have changed anything under externals/, see the compiler's message above; \
else start again, and tell us with the log if it stays."
  note_done build "$(build_state)"
}

neurig_command() {
  is_done command "$here" && return
  step "The neurig command"
  logged .venv/bin/pip install --disable-pip-version-check --no-input --no-build-isolation --no-deps -e . ||
    give_up "neurig could not be installed into .venv" "remove the folder .venv, then start again."
  note_done command "$here"
}

mkdir -p build || give_up "the folder $here cannot be written to" "copy it to a place that is yours, and start there."
exec 9>build/set-up.lock
flock -n 9 || { say "Another set-up of this folder is running; waiting for it."; flock 9; }
trap 'say ""; say "Set-up was interrupted. Start again: it goes on where it has to."; exit 130' INT TERM

system_packages
python_environment
python_packages
[ "${1:-}" != train ] || training_packages
compiled_parts
neurig_command
[ -z "${steps:-}" ] || say "neurig is set up."
