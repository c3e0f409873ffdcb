"""Record a sample: real programs over a link that is congested for part of the time, captured with tcpdump.

    python -m deploy.lab.record --out samples/demo.pcap.zst --seconds 60 --seed 1

Needs the right to make namespaces (root) and the programs of `NEEDED`, and says which are missing. Everything runs
in three network namespaces (devices, router, servers) and in a mount, PID and network namespace of its own, and ends
with it.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

NEEDED = (
    *("unshare", "ip", "tc", "ethtool", "sysctl", "tcpdump", "zstd", "nginx", "curl"),
    *("mosquitto", "mosquitto_pub", "mosquitto_sub", "dnsmasq", "dig", "ping", "iperf3"),
)
PATH = os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/sbin:/sbin"
UNSHARE = ("unshare", "-n", "-m", "-p", "-f", "--kill-child", "--mount-proc")
CAPACITY = "8mbit"
BUFFER = "150kb"
DEVICES = [f"10.13.0.{i}" for i in range(11, 15)]
SERVER = "10.13.1.2"
BULK = ((0.30, 0.48, "tcp"), (0.72, 0.80, "udp"))
"""When the link is congested, as shares of the recording, and by what."""

NETWORK = f"""
set -e
for n in dev rtr srv; do ip netns add $n; ip -n $n link set lo up; done
ip link add d0 netns dev type veth peer name r0 netns rtr
ip link add s0 netns srv type veth peer name r1 netns rtr
ip -n rtr addr add 10.13.0.1/24 dev r0; ip -n rtr addr add 10.13.1.1/24 dev r1
ip -n srv addr add {SERVER}/24 dev s0
ip -n dev link set d0 up; ip -n srv link set s0 up; ip -n rtr link set r0 up; ip -n rtr link set r1 up
{"".join(f"ip -n dev addr add {device}/24 dev d0;" for device in DEVICES)}
ip -n dev route add default via 10.13.0.1; ip -n srv route add default via 10.13.1.1
ip netns exec rtr sysctl -qw net.ipv4.ip_forward=1
for n in "dev d0" "srv s0" "rtr r0" "rtr r1"; do
  set -- $n; ip netns exec $1 ethtool -K $2 tso off gso off gro off tx off >/dev/null
done
tc -n rtr qdisc add dev r1 root tbf rate {CAPACITY} burst 3000 limit {BUFFER}
tc -n rtr qdisc add dev r0 root tbf rate {CAPACITY} burst 3000 limit {BUFFER}
"""


def main() -> int:
    """Parse, check what is needed, and record in namespaces of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="capture to write, .pcap.zst")
    parser.add_argument("--seconds", type=int, default=70, help="length of the recording")
    parser.add_argument("--seed", type=int, default=1, help="what the programs choose follows from it")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.inside:
        if lacking := missing():
            print(f"record: cannot build the lab here: {lacking}; nothing was recorded", file=sys.stderr)
            return 2
        command = [*UNSHARE, sys.executable, "-m", "deploy.lab.record", *sys.argv[1:], "--inside"]
        return subprocess.run(command, check=False, env=os.environ | {"PATH": PATH}).returncode
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
    subprocess.run(["bash", "-c", NETWORK], check=True)
    with tempfile.TemporaryDirectory() as folder:
        Recording(Path(folder), options.seconds, random.Random(options.seed)).run(options.out.resolve())
    return 0


def missing() -> str:
    """Say what the lab lacks on this machine: programs, or the right to make namespaces; empty when it can run."""
    absent = [tool for tool in NEEDED if shutil.which(tool, path=PATH) is None]
    if absent:
        return f"programs not installed: {', '.join(absent)}"
    environment = os.environ | {"PATH": PATH}
    probe = [*UNSHARE, "sh", "-c", "mount -t tmpfs tmpfs /run && ip netns add probe && ip link add p0 type veth"]
    tried = subprocess.run(probe, check=False, capture_output=True, text=True, env=environment)
    return f"namespaces are not allowed: {tried.stderr.strip()}" if tried.returncode else ""


class Recording:
    """One recording: servers, clients, a bulk transfer by schedule, and the capture."""

    def __init__(self, folder: Path, seconds: int, rng: random.Random) -> None:
        self.folder, self.seconds, self.rng = folder, seconds, rng
        self.processes: list[subprocess.Popen[bytes]] = []

    def run(self, out: Path) -> None:
        """Start everything, follow the schedule, stop the capture, pack it."""
        folder = self.folder
        folder.chmod(0o755)
        (folder / "index.html").write_text("<html><body>" + "offramp sample page " * 400 + "</body></html>\n")
        (folder / "nginx.conf").write_text(
            f"daemon off; pid {folder}/n.pid; error_log /dev/null; events {{}} http {{ access_log off; "
            f"server {{ listen 80; root {folder}; error_page 405 =200 $uri; }} }}"
        )
        (folder / "mosquitto.conf").write_text("listener 1883\nallow_anonymous true\n")
        raw = folder / "raw.pcap"
        capture = self.start("rtr", "tcpdump", "-i", "r0", "-U", "-B", "16384", "-Z", "root", "-w", str(raw))
        self.servers()
        time.sleep(1.5)
        self.clients()
        began = time.monotonic()
        for start, end, kind in BULK:
            time.sleep(max(0.0, start * self.seconds - (time.monotonic() - began)))
            self.bulk((end - start) * self.seconds, kind)
        time.sleep(max(0.0, self.seconds - (time.monotonic() - began)))
        capture.terminate()
        capture.wait()
        for process in self.processes:
            process.kill()
        subprocess.run(["zstd", "-q", "-f", "-19", "--long=24", str(raw), "-o", str(out)], check=True)

    def start(self, namespace: str, *command: str) -> subprocess.Popen[bytes]:
        """Start a program in a namespace, silent."""
        quiet = subprocess.DEVNULL
        process = subprocess.Popen(["ip", "netns", "exec", namespace, *command], stdout=quiet, stderr=quiet)
        self.processes.append(process)
        return process

    def servers(self) -> None:
        """Start web, MQTT, Modbus, DNS and bulk servers."""
        self.start("srv", "nginx", "-c", str(self.folder / "nginx.conf"), "-p", str(self.folder))
        self.start("srv", "mosquitto", "-c", str(self.folder / "mosquitto.conf"))
        self.start("srv", sys.executable, "-m", "deploy.lab.modbus", "serve")
        self.start("srv", "dnsmasq", "-k", "-R", "-h", "--user=root", "--address=/lab.example/" + SERVER)
        self.start("srv", "iperf3", "-s")

    def clients(self) -> None:
        """Start the devices' quiet traffic: web, MQTT, Modbus, DNS and ping, each for the whole recording."""
        whole, web, mqtt, plc, names = self.seconds, *DEVICES
        loops = [
            f"i=0; while :; do curl -s --interface {web} -e http://lab.example/start 'http://{SERVER}/?page='$i "
            f"-o /dev/null; i=$((i+1)); sleep {self.pause(0.3, 0.6)}; done",
            f"while :; do curl -s --interface {web} -d 'sensor=7&value=21' http://{SERVER}/index.html -o /dev/null; "
            f"sleep {self.pause(1.5, 3)}; done",
            f"mosquitto_sub -h {SERVER} -A {names} -t 'plant/#' -q 1",
            f"i=0; while :; do mosquitto_pub -h {SERVER} -A {mqtt} -t plant/line$((i%3))/temperature -q $((i%2)) "
            f"-m '{{\"value\": '$((20+i%7))'}}'; i=$((i+1)); sleep {self.pause(0.15, 0.3)}; done",
            f"i=0; while :; do dig +tries=1 +time=1 -b {names} @{SERVER} host$((i%40)).lab.example >/dev/null; "
            f"[ $((i%9)) = 0 ] && dig +tcp +time=1 -b {names} @{SERVER} tcp.lab.example >/dev/null; "
            f"i=$((i+1)); sleep {self.pause(0.3, 0.5)}; done",
            f"ping -q -i 0.5 -I {plc} {SERVER}",
            f"ip netns exec srv ping -q -i 1 {web}",
        ]
        for loop in loops:
            self.start("dev", "timeout", str(whole), "bash", "-c", loop)
        seed = str(self.rng.randrange(1000))
        self.start("dev", sys.executable, "-m", "deploy.lab.modbus", "poll", SERVER, str(whole), seed)

    def pause(self, low: float, high: float) -> str:
        """Return a pause in seconds, drawn for this recording."""
        return f"{self.rng.uniform(low, high):.2f}"

    def bulk(self, seconds: float, kind: str) -> None:
        """Start a transfer that wants more than the link carries."""
        extra = ["-u", "-b", "11M", "-l", "1200"] if kind == "udp" else ["-P", "2"]
        extra += ["-t", str(max(1, round(seconds))), "--repeating-payload"]  # iperf3 takes 0 for "without end"
        self.start("dev", "iperf3", "-c", SERVER, "-B", self.rng.choice(DEVICES[:2]), *extra)


if __name__ == "__main__":
    sys.exit(main())
