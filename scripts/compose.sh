# What backup.sh, restore.sh and upgrade.sh share; they read it in the repository's root.

say() { printf '\033[1mtidegate\033[0m %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

# setting NAME DEFAULT: a variable of the environment or of .env.
setting() {
    local line
    if [ -n "${!1:-}" ]; then printf %s "${!1}"; return; fi
    line=$(grep "^$1=" .env 2>/dev/null | tail -n 1) || true
    printf %s "${line:+${line#*=}}"
    if [ -z "$line" ]; then printf %s "$2"; fi
}

folder=$(setting BACKUP_FOLDER ./backups)
if [[ $folder != /* ]]; then folder=$PWD/${folder#./}; fi

# Neither a backup nor a restore builds images that are there already: that would need the network, and might bring a
# version that does not run yet. upgrade.sh builds by itself.
PULL_POLICY=$(setting PULL_POLICY build)
built_here=$([ "$PULL_POLICY" = build ] && echo yes || echo no)
if [ $built_here = yes ]; then PULL_POLICY=missing; fi
export PULL_POLICY

# tool SERVICE COMMAND...: a container that ends with its command, has the backups at /backups and is this user.
tool() { docker compose run --rm -T --no-deps --user "$(id -u):$(id -g)" --volume "$folder:/backups" "$@"; }
