// The ways of a driver domain's bridges out of the machine, and captures of what passes them.
import { type Bridge, PcapngCapture } from '@splitring/backend';
import { connectStream, listenForStreams } from '@splitring/backend/qemu-stream';
import { openVxlan } from '@splitring/backend/vxlan';
import type { Kernel } from '@splitring/hypervisor';
import { SplitringError } from 'sharedarraybuffer-ring';
import { CaptureFile } from './capture-file.ts';
import { type DriverRole, type UplinkBoot, uplinkErrorNode } from './thread-boot.ts';
import { realClock } from './thread-time.ts';

/** Open all that a driver domain's role asks for. @throws SplitringError UPLINK_FAILED, CAPTURE_FAILED, NO_SUCH_BRIDGE */
export async function openNetworks(
  role: DriverRole,
  kernel: Kernel,
  bridges: ReadonlyMap<string, Bridge>,
): Promise<{ close(): Promise<void> }> {
  const closers: (() => Promise<void> | void)[] = [];
  const close = async () => {
    for (const closeOne of closers.splice(0).reverse()) await closeOne();
  };
  try {
    for (const [name, path] of Object.entries(role.captures)) closers.push(capture(find(bridges, name), path, kernel));
    for (const uplink of role.uplinks) closers.push(await open(uplink, find(bridges, uplink.bridge), kernel));
  } catch (error) {
    await close();
    throw error;
  }
  return { close };
}

function find(bridges: ReadonlyMap<string, Bridge>, name: string): Bridge {
  const bridge = bridges.get(name);
  if (bridge !== undefined) return bridge;
  const there = [...bridges.keys()].join(', ') || 'none';
  throw new SplitringError('NO_SUCH_BRIDGE', `Cannot open a network of bridge ${name}: there is ${there}`, { name });
}

/** Write what passes a bridge into a file that tcpdump and tshark read. @returns how to end it */
function capture(bridge: Bridge, path: string, kernel: Kernel): () => void {
  let file: CaptureFile;
  try {
    file = new CaptureFile(path, realClock);
  } catch (error) {
    throw new SplitringError('CAPTURE_FAILED', `Cannot write the capture ${path}: ${reason(error)}`, { path }, error);
  }
  const pcap = new PcapngCapture({
    write: (bytes) => file.write(bytes),
    clock: realClock,
    epochMs: Date.now() - realClock.nowMs(),
  });
  kernel.add(file);
  pcap.attachAll(bridge);
  return () => {
    bridge.onAttach = undefined;
    for (const link of bridge.links) link.tap = undefined;
    kernel.remove(file);
    file.close();
  };
}

async function open(uplink: UplinkBoot, bridge: Bridge, kernel: Kernel): Promise<() => Promise<void> | void> {
  try {
    if ('vxlan' in uplink) {
      const { vni, remotes, port, localAddress } = uplink.vxlan;
      const tunnel = await openVxlan(bridge, kernel, {
        vni,
        remotes,
        link: uplink.lane,
        ...(port === undefined ? {} : { port }),
        ...(localAddress === undefined ? {} : { localAddress }),
      });
      return () => tunnel.close();
    }
    if ('listen' in uplink) {
      const listener = await listenForStreams(bridge, kernel, { path: uplink.listen }, uplink.lane);
      return () => listener.close();
    }
    const stream = await connectStream(
      bridge,
      kernel,
      { path: uplink.connect },
      { link: uplink.lane, onCarrier: (isOn) => tell(isOn, uplink, uplink.connect, kernel) },
    );
    return () => stream.close();
  } catch (error) {
    const message = `Cannot open the uplink of bridge ${uplink.bridge}: ${reason(error)}`;
    throw new SplitringError('UPLINK_FAILED', message, { bridge: uplink.bridge }, error);
  }
}

/** The bridge goes on without its peer; whoever looks for the reason finds it where drivers leave theirs. */
function tell(isOn: boolean, { index }: UplinkBoot, path: string, { store }: Kernel): void {
  const text = `Uplink ${index} is down: ${path} closed the connection`;
  if (isOn) store.remove(uplinkErrorNode(index));
  else store.write(uplinkErrorNode(index), text.replace(/[^ -~]/g, '?').slice(0, 1024));
}

function reason(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
