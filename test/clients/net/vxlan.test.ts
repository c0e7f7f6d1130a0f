// The Linux kernel pings an example guest and exchanges UDP with it, over VXLAN from a network namespace.
//
// Needs root, ip (iproute2) and ping; without them the test says so loudly and passes. The capture of it all is read by
// tcpdump where there is one.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import test, { type ExecutionContext } from 'ava';
import { createHost, type HostConfig } from 'splitring';

const tag = `sr${process.pid % 100_000}`;
const subnet = `10.${200 + (process.pid % 50)}.${process.pid % 250}`;
const has = (tool: string) => spawnSync('sh', ['-c', `command -v ${tool}`]).status === 0;
const ip = (...args: string[]) => execFileSync('ip', args, { stdio: 'pipe' });

/** A namespace whose kernel has a VXLAN interface towards us. @returns why not, if it cannot be */
function makeNamespace(): string | undefined {
  if (process.getuid?.() !== 0) return 'not root';
  for (const tool of ['ip', 'ping']) if (!has(tool)) return `there is no ${tool}`;
  try {
    ip('netns', 'add', tag);
    ip('link', 'add', `${tag}a`, 'type', 'veth', 'peer', 'name', `${tag}b`, 'netns', tag);
    ip('addr', 'add', `${subnet}.1/24`, 'dev', `${tag}a`);
    ip('link', 'set', `${tag}a`, 'up');
    ip('-n', tag, 'link', 'set', 'lo', 'up');
    ip('-n', tag, 'addr', 'add', `${subnet}.2/24`, 'dev', `${tag}b`);
    ip('-n', tag, 'link', 'set', `${tag}b`, 'up');
    const peer = ['id', '42', 'dev', `${tag}b`, 'remote', `${subnet}.1`, 'dstport', '4789'];
    ip('-n', tag, 'link', 'add', 'vx0', 'type', 'vxlan', ...peer);
    ip('-n', tag, 'addr', 'add', '10.42.0.1/24', 'dev', 'vx0');
    ip('-n', tag, 'link', 'set', 'vx0', 'up');
    return undefined;
  } catch (error) {
    return `no network namespace: ${error instanceof Error ? error.message : error}`;
  }
}

const UDP_CLIENT = `
const socket = require('node:dgram').createSocket('udp4');
const text = 'x'.repeat(1000);
let left = 20;
socket.on('message', (bytes) => {
  if (bytes.toString() !== text) process.exit(3);
  left -= 1;
  if (left === 0) process.exit(0);
  socket.send(text, 7, '10.42.0.2');
});
socket.send(text, 7, '10.42.0.2');
setTimeout(() => process.exit(4), 10000);
`;

test.after.always(() => {
  spawnSync('ip', ['netns', 'del', tag]);
  spawnSync('ip', ['link', 'del', `${tag}a`]);
});

function readCapture(t: ExecutionContext, path: string): void {
  if (!has('tcpdump')) {
    t.log('SKIPPED: there is no tcpdump to read the capture with');
    return;
  }
  const { stdout, stderr, status } = spawnSync('tcpdump', ['-n', '-e', '-v', '-r', path], { encoding: 'utf8' });
  t.is(status, 0, stderr);
  t.regex(stdout, /ICMP echo request/);
  t.regex(stdout, /ICMP echo reply/);
  t.notRegex(stdout, /truncated|bad cksum/);
  // What the kernel sends may be unfinished (its virtual cards pass sums on blank); what the guest sends is not.
  t.notRegex(stdout, /10\.42\.0\.2\.7 > .*\[bad udp cksum/);
}

test('the Linux kernel pings a guest and exchanges UDP with it through VXLAN', async (t) => {
  const missing = makeNamespace();
  if (missing !== undefined) {
    t.log(`SKIPPED: ${missing}`);
    t.pass();
    return;
  }
  const directory = mkdtempSync(join(tmpdir(), 'splitring-vxlan-'));
  const capture = join(directory, 'lan0.pcapng');
  const vxlan = { vni: 42, remotes: [`${subnet}.2`], localAddress: `${subnet}.1` };
  const host = await createHost({
    driverDomains: [
      { name: 'net', bridges: ['lan0'], uplinks: [{ bridge: 'lan0', vxlan }], captures: { lan0: capture } },
    ],
  });
  try {
    await host.createDomain({
      name: 'web',
      program: new URL('../../../examples/02-endpoint.guest.ts', import.meta.url),
      args: { ip: '10.42.0.2' },
      nics: [{ bridge: 'lan0' }],
    });
    const ping = await run('ping', '-c', '5', '-i', '0.2', '-W', '5', '-s', '1400', '10.42.0.2');
    t.is(ping.status, 0, ping.output);
    t.regex(ping.output, / 0% packet loss/);
    const udp = await run(process.execPath, '-e', UDP_CLIENT);
    t.is(udp.status, 0, udp.output);
  } finally {
    await host.close();
  }
  readCapture(t, capture);
  rmSync(directory, { recursive: true });
});

type UplinkConfig = NonNullable<NonNullable<HostConfig['driverDomains']>[number]['uplinks']>[number];
const vxlan = { vni: 1, remotes: ['192.0.2.2'], localAddress: '192.0.2.1' };
const unopenable: readonly (readonly [string, UplinkConfig, string])[] = [
  ['an address that is not ours', { bridge: 'lan0', vxlan }, 'UPLINK_FAILED'],
  ['a socket that nobody listens on', { bridge: 'lan0', connect: '/nonexistent/passt.sock' }, 'UPLINK_FAILED'],
  ['a bridge that is not there', { bridge: 'lan7', listen: '/nonexistent/lan7.sock' }, 'NO_SUCH_BRIDGE'],
];
for (const [name, uplink, code] of unopenable) {
  test(`an uplink with ${name} is a clear error at once`, async (t) => {
    const creating = createHost({ driverDomains: [{ name: 'net', bridges: ['lan0'], uplinks: [uplink] }] });
    await t.throwsAsync(creating, { code });
  });
}

/** Run a program inside the namespace without holding this thread up: it carries the host. */
async function run(...command: string[]): Promise<{ status: number | null; output: string }> {
  const { spawn } = await import('node:child_process');
  const child = spawn('ip', ['netns', 'exec', tag, ...command], { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  child.stdout.on('data', (text) => {
    output += text;
  });
  child.stderr.on('data', (text) => {
    output += text;
  });
  const status = await new Promise<number | null>((resolve) => {
    child.once('close', resolve);
  });
  return { status, output };
}
