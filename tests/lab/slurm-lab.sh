#!/usr/bin/env bash
# A real Slurm cluster of several nodes on this one machine (Debian 12, root), for the tests.
#
#   slurm-lab.sh check          can it run here? One line and exit code 0 or 1; changes nothing
#   slurm-lab.sh up [--nodes N] [--plain] [--with-mpi] [--set Key=Value]...
#   slurm-lab.sh down [--purge]
#   slurm-lab.sh status         what runs; exit code 0 if all of it does
#   slurm-lab.sh crash NODE     kill slurmd and every process of that node, as a power cut does
#   slurm-lab.sh cut NODE       unplug the node's network
#   slurm-lab.sh revive NODE    plug the network in again, start slurmd again if it is gone. Only once Slurm
#                               has seen the crash (SlurmdTimeout, 30 s): before, its jobs would wait for ever
#   slurm-lab.sh env            print the export that a client may want
#
# Two nodes shaped like Ruche's GPU nodes, with 40 CPUs and four V100 each, all pretended, and Ruche's
# partitions gpu, gpu_test, cpu_short and cpu_med. Jobs in low (20 s of grace) and low0 (none) give way to
# jobs in urgent.
#
# A node is a network, UTS and mount namespace: own host name, own address on a bridge, own /dev/shm; the file
# system is shared, as on a cluster. With --plain, or where namespaces are not permitted, nodes are slurmd
# daemons on different ports of 127.0.0.1 that share the machine's name.
#
# CLOUDSEG_LAB_DIR holds all its state (default /var/lib/cloudseg-lab). CLOUDSEG_LAB_NODES, _CPUS, _MEM_MB and
# _GPUS give another shape, CLOUDSEG_LAB_SUBNET another network than 10.213.77.
# It never touches a Slurm that is not its own. It takes Slurm's usual ports, so there is one lab a machine.
set -euo pipefail

lab=${CLOUDSEG_LAB_DIR:-/var/lib/cloudseg-lab}
nodes=${CLOUDSEG_LAB_NODES:-2}
cpus=${CLOUDSEG_LAB_CPUS:-40}
mem_mb=${CLOUDSEG_LAB_MEM_MB:-760000}
gpus=${CLOUDSEG_LAB_GPUS:-4}
subnet=${CLOUDSEG_LAB_SUBNET:-10.213.77}
cluster=cloudseglab
bridge=cloudseglab0
conf=$lab/etc/slurm.conf
conf_files=(slurm.conf gres.conf slurmdbd.conf cgroup.conf)

say() { echo "slurm-lab: $*" >&2; }
die() { say "$*"; exit 1; }
wrong_usage() { say "$* (slurm-lab.sh --help shows the usage)"; exit 2; }
usage() { sed -n '2,/^set -/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; }

# ---------------------------------------------------------------- processes and waiting
not_running() {  # not_running PID: PID 1 of a container may leave zombies about
  [ ! -d "/proc/$1" ] || grep -qs '^State:.*Z' "/proc/$1/status"
}

is_ours() {  # is_ours PID: the lab's daemons have its folder on their command line or in their environment
  grep -qsaF "$lab/" "/proc/$1/cmdline" "/proc/$1/environ"
}

alive() {  # alive PIDFILE NAME: prints the process id if that very program runs, and is ours
  local pid
  [ -s "$1" ] || return 1
  pid=$(tr -dc 0-9 <"$1")
  [ -n "$pid" ] && [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$2" ] || return 1
  ! not_running "$pid" && is_ours "$pid" && echo "$pid"
}

wait_for() {  # wait_for SECONDS COMMAND...
  local end=$(($(date +%s%N) + $1 * 1000000000))
  shift
  until "$@" >/dev/null 2>&1; do
    [ "$(date +%s%N)" -lt $end ] || return 1
    sleep 0.1
  done
}

stop() {  # stop PIDFILE NAME SECONDS
  local pid
  if pid=$(alive "$1" "$2"); then
    kill "$pid" 2>/dev/null || true
    wait_for "$3" not_running "$pid" || { say "$2 ($pid) ignores TERM, so KILL"; kill -9 "$pid" || true; }
  fi
  rm -f "$1"
}

mode_now() { cat "$lab/mode" 2>/dev/null || echo none; }
node_names() { cat "$lab/nodes" 2>/dev/null || true; }
node_ip() { echo "$subnet.${1#node}"; }
namespace() { echo "$cluster-$1"; }
is_up() { alive "$lab/run/slurmctld.pid" slurmctld >/dev/null; }

node_pids() {  # every process of a node
  local folder
  if [ "$(mode_now)" = netns ]; then
    ip netns pids "$(namespace "$1")" 2>/dev/null || true
    return 0
  fi
  for folder in /proc/[0-9]*; do  # a slurmstepd does not tell its node: in plain mode it is missed
    if tr '\0' '\n' 2>/dev/null <"$folder/environ" | grep -qx "SLURMD_NODENAME=$1"; then
      echo "${folder#/proc/}"
    fi
  done
  alive "$lab/run/slurmd-$1.pid" slurmd || true
}

# ---------------------------------------------------------------- may it run here?
foreign_daemon() {  # prints a Slurm daemon of somebody else's
  local pid
  for pid in $(grep -lxE 'slurmctld|slurmd|slurmdbd' /proc/[0-9]*/comm 2>/dev/null | tr -dc '0-9\n'); do
    if ! not_running "$pid" && ! is_ours "$pid"; then
      echo "$(cat "/proc/$pid/comm") ($pid)"
      return 0
    fi
  done
}

answering_cluster() {  # prints the name of the cluster that a user's commands would reach
  command -v scontrol >/dev/null || return 0
  env -u SLURM_CONF timeout 5 scontrol show config 2>/dev/null | sed -n 's/^ClusterName *= *//p' || true
}

why_not() {  # prints why the lab may not run here; nothing if it may
  local found
  if [ "$(id -u)" != 0 ]; then echo "it takes root to start a cluster"; return; fi
  if [ -n "$user_slurm_conf" ] && [ "$user_slurm_conf" != "$conf" ]; then
    echo "SLURM_CONF is $user_slurm_conf: that is another cluster"
    return
  fi
  if [ -e /etc/slurm/slurm.conf ] || [ -L /etc/slurm/slurm.conf ]; then
    if [ "$(readlink /etc/slurm/slurm.conf)" != "$conf" ]; then
      echo "/etc/slurm/slurm.conf is not the lab's: this machine belongs to another cluster"
      return
    fi
  fi
  found=$(foreign_daemon)
  if [ -n "$found" ]; then
    echo "$found runs here and is not the lab's: this machine belongs to another cluster"
    return
  fi
  found=$(answering_cluster)
  if [ -n "$found" ] && [ "$found" != "$cluster" ]; then
    echo "the cluster $found answers here"
    return
  fi
  # shellcheck source=/dev/null
  found=$(. /etc/os-release 2>/dev/null && echo "${ID:-} ${VERSION_ID:-}")
  if [ "$found" != "debian 12" ] || ! command -v apt-get >/dev/null; then
    echo "it is made for Debian 12 and its packages, and this is ${found:-something else}"
    return
  fi
  if [ ${#lab} -gt 70 ]; then echo "CLOUDSEG_LAB_DIR is too long for a socket's name: $lab"; fi
}

may_run() {
  local reason
  reason=$(why_not)
  [ -z "$reason" ] || die "$reason. Nothing was touched."
}

check() {
  local reason
  reason=$(why_not)
  if [ -n "$reason" ]; then echo "$reason"; return 1; fi
  if is_up; then echo "it is up"; else echo "it can run here"; fi
}

# ---------------------------------------------------------------- packages
install_packages() {
  local want=(slurmctld slurmd slurmdbd slurm-client slurm-wlm-basic-plugins munge
    mariadb-server-core mariadb-client-core iproute2)
  # Slurm loads libpmix.so by its plain name, which only the -dev package has
  [ $with_mpi = no ] || want+=(openmpi-bin libopenmpi-dev libpmix-dev g++)
  local missing=() package
  for package in "${want[@]}"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  say "installing ${missing[*]}, about half a minute; log: $lab/log/apt.log"
  if ! apt_install "${missing[@]}" >"$lab/log/apt.log" 2>&1; then
    tail -20 "$lab/log/apt.log" >&2
    die "apt-get failed; the whole log is $lab/log/apt.log"
  fi
}

apt_install() (  # in a subshell, so that the trap always takes the policy away again
  local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=600)
  if [ ! -e /usr/sbin/policy-rc.d ]; then  # keeps packages from starting their daemons
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
    chmod 755 /usr/sbin/policy-rc.d
  fi
  "${apt[@]}" update
  "${apt[@]}" install -y --no-install-recommends "$@"
)

# ---------------------------------------------------------------- configuration
choose_mode() {
  [ -z "$mode" ] || return 0
  if unshare --net --uts --mount true 2>/dev/null &&
    ip link add csl-test type veth peer name csl-test2 2>/dev/null; then
    ip link del csl-test
    mode=netns
  else
    mode=plain
    say "no permission for namespaces, so the nodes share this machine's name and network"
  fi
}

controller_address() { if [ "$mode" = netns ]; then echo "$subnet.254"; else echo 127.0.0.1; fi; }

node_lines() {
  local i
  for ((i = 1; i <= nodes; i++)); do
    if [ "$mode" = netns ]; then
      echo "NodeName=node$i NodeAddr=$subnet.$i NodeHostname=node$i"
    else
      echo "NodeName=node$i NodeAddr=127.0.0.1 Port=$((17000 + i))"
    fi
  done
}

settings() {
  cat <<EOF
ClusterName=$cluster
SlurmctldHost=$(hostname -s)($(controller_address))
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# cred_expire is also how long a requeued job waits: 120 s by default
AuthInfo=socket=$lab/run/munge.sock,cred_expire=10
StateSaveLocation=$lab/state
SlurmdSpoolDir=$lab/spool/%n
TmpFS=$lab/tmp/%n
SlurmctldPidFile=$lab/run/slurmctld.pid
SlurmdPidFile=$lab/run/slurmd-%n.pid
SlurmctldLogFile=$lab/log/slurmctld.log
SlurmdLogFile=$lab/log/slurmd-%n.log
SlurmctldDebug=info
SlurmdDebug=info
MailProg=/bin/true
# no cgroups, no task binding
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=5
# sizes as declared, not as found
SlurmdParameters=config_overrides
PropagateResourceLimits=NONE
ReturnToService=2
GresTypes=gpu
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePass=$lab/run/munge.sock
AccountingStorageTRES=gres/gpu
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
# without it a job gets all of a node's memory, and the next one waits
DefMemPerCPU=$((mem_mb / cpus))
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=2,sched_interval=2,sched_min_interval=0,batch_sched_delay=0
# under SchedulerParameters it would be ignored
SlurmctldParameters=preempt_send_user_signal
PriorityType=priority/basic
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
MpiDefault=none
# short delays, for tests; two busy cores may miss pings for 10 s
KillWait=5
OverTimeLimit=0
MinJobAge=600
MessageTimeout=20
SlurmdTimeout=30
SlurmctldTimeout=30
InactiveLimit=0
EOF
}

nodes_and_partitions() {
  echo "NodeName=DEFAULT CPUs=$cpus Boards=1 SocketsPerBoard=1 CoresPerSocket=$cpus ThreadsPerCore=1" \
    "RealMemory=$mem_mb Gres=gpu:v100:$gpus State=UNKNOWN"
  node_lines
  cat <<EOF
PartitionName=DEFAULT Nodes=ALL State=UP DefaultTime=60 PriorityTier=10 PreemptMode=OFF
PartitionName=gpu Default=YES MaxTime=24:00:00
PartitionName=gpu_test MaxTime=01:00:00
PartitionName=cpu_short MaxTime=01:00:00
PartitionName=cpu_med MaxTime=04:00:00
PartitionName=low MaxTime=24:00:00 PriorityTier=1 PreemptMode=REQUEUE GraceTime=20
PartitionName=low0 MaxTime=24:00:00 PriorityTier=1 PreemptMode=REQUEUE GraceTime=0
PartitionName=urgent MaxTime=24:00:00 PriorityTier=100
EOF
}

write_slurm_conf() {
  local pair text
  text=$(settings)
  for pair in ${extra[@]+"${extra[@]}"}; do  # --set wins
    text=$(sed "/^${pair%%=*}=/Id" <<<"$text")
    text+=$'\n'$pair
  done
  {
    echo "# written by slurm-lab.sh: edits do not last, --set Key=Value does"
    echo "$text"
    nodes_and_partitions
  } >"$conf"
}

write_gres_conf() {
  # A file of another kind than a device would be refused, and jobs would get no CUDA_VISIBLE_DEVICES. These
  # are clones of /dev/null. Without mknod GPUs are only counted.
  local i devices="File=$lab/dev/nvidia[0-$((gpus - 1))]"
  for ((i = 0; i < gpus; i++)); do
    [ -e "$lab/dev/nvidia$i" ] || mknod -m 666 "$lab/dev/nvidia$i" c 1 3 2>/dev/null || devices=Count=$gpus
  done
  printf 'AutoDetect=off\n' >"$lab/etc/gres.conf"
  [ "$gpus" = 0 ] || echo "Name=gpu Type=v100 $devices" >>"$lab/etc/gres.conf"
}

write_slurmdbd_conf() {
  (umask 077; : >"$lab/etc/slurmdbd.conf")
  cat >"$lab/etc/slurmdbd.conf" <<EOF
AuthType=auth/munge
AuthInfo=socket=$lab/run/munge.sock
DbdHost=localhost
DbdAddr=127.0.0.1
SlurmUser=root
PidFile=$lab/run/slurmdbd.pid
LogFile=$lab/log/slurmdbd.log
DebugLevel=info
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=slurm_acct_db
EOF
}

write_config() {
  local i name
  write_slurm_conf
  write_gres_conf
  write_slurmdbd_conf
  # 22.05 cannot be told to do without a cgroup plugin, only not to use it
  printf 'CgroupPlugin=cgroup/v1\nCgroupAutomount=no\n' >"$lab/etc/cgroup.conf"
  echo "$mode" >"$lab/mode"
  for ((i = 1; i <= nodes; i++)); do echo "node$i"; done >"$lab/nodes"
  {
    echo "127.0.0.1 localhost"
    echo "$(controller_address) $(hostname -s)"
    for name in $(node_names); do echo "$(node_ip "$name") $name"; done
  } >"$lab/etc/hosts"
  mkdir -p /etc/slurm  # so that clients need no SLURM_CONF
  for name in "${conf_files[@]}"; do
    if [ -e "/etc/slurm/$name" ] && [ "$(readlink "/etc/slurm/$name")" != "$lab/etc/$name" ]; then
      die "/etc/slurm/$name is not the lab's"
    fi
    ln -sfn "$lab/etc/$name" "/etc/slurm/$name"
  done
}

# ---------------------------------------------------------------- nodes
plug_in() {  # plug_in NODE: its namespace, a cable and the bridge
  local name
  name=$(namespace "$1")
  if ! ip link show $bridge >/dev/null 2>&1; then
    ip link add $bridge type bridge
    ip addr add "$subnet.254/24" dev $bridge
    ip link set $bridge up
  fi
  [ -e "/run/netns/$name" ] || ip netns add "$name"
  if ! ip -n "$name" link show eth0 >/dev/null 2>&1; then
    ip link del "csl-$1" 2>/dev/null || true
    ip link add "csl-$1" type veth peer name eth0 netns "$name"
    ip link set "csl-$1" master $bridge
    ip -n "$name" addr add "$(node_ip "$1")/24" dev eth0
    ip -n "$name" link set lo up
    ip -n "$name" link set eth0 up
  fi
  ip link set "csl-$1" up
}

start_node() {  # start_node NODE
  local node=$1 slurmd=(/usr/sbin/slurmd -N "$1" -f "$conf")
  ! alive "$lab/run/slurmd-$node.pid" slurmd >/dev/null || return 0
  mkdir -p "$lab/spool/$node" "$lab/tmp/$node"
  chmod 1777 "$lab/tmp/$node"
  if [ "$(mode_now)" = plain ]; then
    "${slurmd[@]}" </dev/null >>"$lab/log/start.log" 2>&1
    return
  fi
  plug_in "$node"
  # not "ip netns exec": it mounts /sys anew, and slurmd 22.05 does not start with nothing on /sys/fs/cgroup
  # shellcheck disable=SC2016  # the inner shell expands it
  nsenter --net="/run/netns/$(namespace "$node")" unshare --uts --mount --propagation slave -- /bin/sh -ec '
    hostname "$1"
    mount -t tmpfs -o mode=1777 tmpfs /dev/shm
    mount --bind "$2" /etc/hosts
    mountpoint -q /sys/fs/cgroup || mount -t tmpfs tmpfs /sys/fs/cgroup
    shift 2
    exec "$@"' sh "$node" "$lab/etc/hosts" "${slurmd[@]}" </dev/null >>"$lab/log/start.log" 2>&1
}

all_idle() {
  local node
  for node in $(node_names); do
    case $(sinfo -h -N -n "$node" -o %T 2>/dev/null | sort -u | head -1) in
      idle | mixed | allocated | completing) ;;
      *) return 1 ;;
    esac
  done
}

# ---------------------------------------------------------------- daemons
start_munge() {
  ! alive "$lab/run/munged.pid" munged >/dev/null || return 0
  [ -s "$lab/etc/munge.key" ] || (umask 077; head -c 128 /dev/urandom >"$lab/etc/munge.key")
  mkdir -p "$lab/munge"
  chmod 700 "$lab/munge"
  rm -f "$lab/run"/munge.sock*
  /usr/sbin/munged --key-file="$lab/etc/munge.key" --socket="$lab/run/munge.sock" \
    --pid-file="$lab/run/munged.pid" --log-file="$lab/munge/munged.log" --seed-file="$lab/munge/munged.seed"
}

start_database() {
  ! alive "$lab/run/mysqld.pid" mariadbd >/dev/null || return 0
  [ -d "$lab/db/mysql" ] || mariadb-install-db --no-defaults --user=root --datadir="$lab/db" --skip-test-db \
    --auth-root-authentication-method=socket --auth-root-socket-user=root >"$lab/log/mariadb-install.log" 2>&1
  rm -f "$lab/run/mysqld.sock"
  setsid mariadbd --no-defaults --user=root --datadir="$lab/db" --socket="$MYSQL_UNIX_PORT" \
    --pid-file="$lab/run/mysqld.pid" --skip-networking --log-error="$lab/log/mariadb.log" \
    --innodb-buffer-pool-size=64M --innodb-log-file-size=64M --innodb-lock-wait-timeout=900 \
    --innodb-flush-log-at-trx-commit=0 --performance-schema=OFF </dev/null >/dev/null 2>&1 &
  disown
  wait_for 60 mariadb --no-defaults --socket="$MYSQL_UNIX_PORT" -e 'select 1' ||
    die "MariaDB does not start: $lab/log/mariadb.log"
}

start_daemon() {  # start_daemon NAME COMMAND_THAT_SUCCEEDS_ONCE_IT_ANSWERS... -- ARGUMENT...
  local name=$1 probe=()
  shift
  ! alive "$lab/run/$name.pid" "$name" >/dev/null || return 0
  while [ "$1" != -- ]; do probe+=("$1"); shift; done
  shift
  "/usr/sbin/$name" "$@" </dev/null >>"$lab/log/start.log" 2>&1 || die "$name does not start: see $lab/log"
  wait_for 30 "${probe[@]}" || die "$name does not answer: $lab/log/$name.log"
}

cluster_registered() {
  sacctmgr -n -P show cluster format=cluster,controlhost 2>/dev/null | grep -q "^$cluster|[0-9]"
}

# ---------------------------------------------------------------- commands
up() {
  local node
  may_run
  mkdir -p "$lab"/{etc,state,spool,log,run,db,dev,tmp}
  chmod 755 "$lab" "$lab"/{etc,spool,log,run,dev,tmp}
  chmod 700 "$lab/state" "$lab/db"
  if is_up; then
    if [ "$nodes" != "$(node_names | wc -l)" ] || [ ${#extra[@]} -gt 0 ]; then
      say "it is up with $(node_names | wc -l) nodes already: down first, to change anything"
    fi
    mode=$(mode_now)
  else
    install_packages
    choose_mode
    write_config
  fi
  if [ "$mode" = netns ]; then  # slurmctld listens on the bridge's address
    for node in $(node_names); do plug_in "$node"; done
  fi
  start_munge
  start_database
  start_daemon slurmdbd sacctmgr -n show cluster --
  start_daemon slurmctld scontrol ping -- -f "$conf"
  for node in $(node_names); do start_node "$node" || die "slurmd of $node does not start: see $lab/log"; done
  wait_for 60 all_idle || { sinfo -N -l >&2; die "not every node is idle: see $lab/log"; }
  wait_for 30 cluster_registered || say "slurmdbd does not know the cluster yet"
  say "up in $SECONDS s: $(node_names | wc -l) nodes ($mode) of $cpus CPUs and $gpus GPUs, all pretended"
}

down() {
  local node pid name
  if [ ! -d "$lab" ]; then say "nothing to stop"; return 0; fi
  if is_up; then
    squeue -h -o %A 2>/dev/null | sort -u | timeout 20 xargs -r scancel 2>/dev/null || true
    # shellcheck disable=SC2016  # the inner shell expands it
    wait_for 8 sh -c '[ -z "$(squeue -h -t R,CG -o %i)" ]' || true
  fi
  for node in $(node_names); do stop "$lab/run/slurmd-$node.pid" slurmd 5; done
  stop "$lab/run/slurmctld.pid" slurmctld 15
  stop "$lab/run/slurmdbd.pid" slurmdbd 15
  stop "$lab/run/mysqld.pid" mariadbd 30
  for node in $(node_names); do  # what jobs left behind
    for pid in $(node_pids "$node"); do kill -9 "$pid" 2>/dev/null || true; done
  done
  stop "$lab/run/munged.pid" munged 5
  if [ "$(mode_now)" = netns ]; then
    for node in $(node_names); do
      ip netns del "$(namespace "$node")" 2>/dev/null || true
      ip link del "csl-$node" 2>/dev/null || true
    done
    ip link del $bridge 2>/dev/null || true
  fi
  for name in "${conf_files[@]}"; do
    [ "$(readlink "/etc/slurm/$name" 2>/dev/null)" != "$lab/etc/$name" ] || rm -f "/etc/slurm/$name"
  done
  rmdir /etc/slurm 2>/dev/null || true
  [ $purge = no ] || rm -rf "$lab"
  say "down"
}

status() {
  local pair pid node code=0
  for pair in munged:munged mysqld:mariadbd slurmdbd:slurmdbd slurmctld:slurmctld; do
    pid=$(alive "$lab/run/${pair%%:*}.pid" "${pair##*:}") || { pid=-; code=1; }
    printf '%-14s %s\n' "${pair##*:}" "$pid"
  done
  for node in $(node_names); do
    pid=$(alive "$lab/run/slurmd-$node.pid" slurmd) || { pid=-; code=1; }
    printf '%-14s %s %s\n' "slurmd $node" "$pid" \
      "$([ $code = 1 ] || timeout 10 sinfo -h -N -n "$node" -o %T 2>/dev/null | sort -u | head -1)"
  done
  return $code
}

on_node() {  # crash, cut or revive
  local pid
  may_run
  is_up || die "it is not up"
  node_names | grep -qx "$node" || wrong_usage "which node? $(node_names | tr '\n' ' ')"
  case $command in
    crash)
      for pid in $(node_pids "$node"); do kill -9 "$pid" 2>/dev/null || true; done
      rm -f "$lab/run/slurmd-$node.pid"
      ;;
    cut)
      [ "$(mode_now)" = netns ] || die "in plain mode a node has no network of its own"
      ip link set "csl-$node" down
      ;;
    revive)
      [ "$(mode_now)" = plain ] || ip link set "csl-$node" up
      # slurmctld looks for a node that is down once a minute or so; told to read its settings, slurmd calls it
      if pid=$(alive "$lab/run/slurmd-$node.pid" slurmd); then kill -HUP "$pid"; else start_node "$node"; fi
      ;;
  esac
}

parse() {
  command=${1:-}
  mode='' with_mpi=no purge=no extra=() node=''
  [ $# = 0 ] || shift
  while [ $# -gt 0 ]; do
    case $1 in
      --nodes | --set) [ $# -ge 2 ] || wrong_usage "$1 needs a value" ;;&
      --nodes) nodes=$2; shift ;;
      --set) extra+=("$2"); shift ;;
      --plain) mode=plain ;;
      --with-mpi) with_mpi=yes ;;
      --purge) purge=yes ;;
      -*) wrong_usage "unknown option $1" ;;
      *) node=$1 ;;
    esac
    shift
  done
}

main() {
  parse "$@"
  case $command in
    up | down | crash | cut | revive)
      # One at a time. The lock is held by a process of its own: the daemons would inherit it from this one.
      if [ "$(id -u)" = 0 ] && [ -z "${CLOUDSEG_LAB_LOCKED:-}" ]; then
        CLOUDSEG_LAB_LOCKED=1 exec flock --close "$lab.lock" "${BASH_SOURCE[0]}" "$@"
      fi
      ;;
  esac
  user_slurm_conf=${SLURM_CONF:-}
  unset CLOUDSEG_LAB_LOCKED "${!SLURM_@}"  # called from inside a job, clients would take over its settings
  export SLURM_CONF=$conf
  export MYSQL_UNIX_PORT=$lab/run/mysqld.sock  # how slurmdbd finds a MariaDB that is not the system's
  case $command in
    check | up | status) $command ;;
    down) [ "$(id -u)" = 0 ] || die "it takes root to stop the cluster"; down ;;
    crash | cut | revive) on_node ;;
    env) echo "export SLURM_CONF=$conf" ;;
    -h | --help | help) usage ;;
    *) usage >&2; exit 2 ;;
  esac
}

main "$@"
