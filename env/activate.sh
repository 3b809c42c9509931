# shellcheck shell=bash
# Every job sources this file in the folder of the code. It loads the site's modules and variables, then Python.
#
# CLOUDSEG_SITE   name of a file in env/sites, or a path of one (default: ruche)
# CLOUDSEG_VENV   the Python environment that env/setup.sh made (default: .venv beside the code)
#
# The site file is TOML. `modules` and [environment] are read line by line here, because Python is not available yet.

cloudseg_site=${CLOUDSEG_SITE:-ruche}
case $cloudseg_site in
  *.toml) ;;
  *) cloudseg_site=env/sites/$cloudseg_site.toml ;;
esac
if [ ! -r "$cloudseg_site" ]; then
  echo "error: CLOUDSEG_SITE: $PWD/$cloudseg_site is not there; there are: $(ls env/sites 2>/dev/null | tr '\n' ' ')" >&2
  return 2
fi
for cloudseg_module in $(sed -n 's/^modules *= *\[\(.*\)\].*/\1/p' "$cloudseg_site" | tr -d '",'); do
  module load "$cloudseg_module"
done
while IFS='=' read -r cloudseg_key cloudseg_value; do
  export "$cloudseg_key=$(eval "echo \"$cloudseg_value\"")" # values may contain variables such as $WORKDIR
done < <(sed -n '/^\[environment\]/,/^\[/s/^\([A-Za-z_][A-Za-z0-9_]*\) *= *"\(.*\)" *$/\1=\2/p' "$cloudseg_site")
unset cloudseg_site cloudseg_module cloudseg_key cloudseg_value

CLOUDSEG_VENV=${CLOUDSEG_VENV:-$PWD/.venv}
if [ ! -x "$CLOUDSEG_VENV/bin/python" ]; then
  echo "error: $CLOUDSEG_VENV has no Python; on the login node type: env/setup.sh --gpu" >&2
  return 2
fi
export PATH="$CLOUDSEG_VENV/bin:$PATH"
