// Strangers on the bridge's stream socket: a QEMU virtual machine boots from a guest, and passt forwards a port to one.
// apt install qemu-system-x86 passt iproute2 tshark; a tool that is missing is a loud skip.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { setTimeout as sleep } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { createHost } from 'splitring';
import type { BootReport } from './boot-server.guest.ts';

const has = (tool: string) => spawnSync('sh', ['-c', `command -v ${tool}`]).status === 0;

function skip(t: ExecutionContext, why: string): void {
  console.warn(`SKIPPED: ${t.title}: ${why}`);
  t.pass();
}

function scratch(t: ExecutionContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'splitring-peers-'));
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** What a program printed so far, and how it ends with the test. */
function start(
  t: ExecutionContext,
  tool: string,
  args: readonly string[],
): { child: ChildProcess; said: () => string } {
  const child = spawn(tool, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr])
    stream?.on('data', (bytes: Buffer) => (output += bytes.toString()));
  t.teardown(() => child.kill('SIGKILL'));
  return { child, said: () => output };
}

/** tshark reads a capture without complaint. @returns its lines, or undefined if it is not there */
function readCapture(t: ExecutionContext, path: string): string | undefined {
  if (!has('tshark')) {
    console.warn(`SKIPPED in ${t.title}: tshark is not installed`);
    return undefined;
  }
  const { status, stdout, stderr } = spawnSync('tshark', ['-n', '-r', path], { encoding: 'utf8', timeout: 60_000 });
  t.is(status, 0, stderr);
  t.notRegex(`${stdout}${stderr}`, /malformed|cut short|appears to (be|have)/i);
  return stdout;
}

for (const throughCard of [false, true]) {
  const way = throughCard ? 'through a modelled network card' : 'at the bridge';
  test.serial(`a QEMU machine attaches ${way} and boots from a guest: DHCP, ARP, TFTP`, async (t) => {
    const rom = '/usr/lib/ipxe/qemu/pxe-virtio.rom';
    if (!has('qemu-system-x86_64')) return skip(t, 'qemu-system-x86_64 is not installed');
    if (!existsSync(rom)) return skip(t, `${rom} is not there`);
    const directory = scratch(t);
    const socket = join(directory, 'lan0.sock');
    const capture = join(directory, 'lan0.pcapng');
    const uplink = { bridge: 'lan0', listen: socket, ...(throughCard ? { card: { queues: 2 } } : {}) };
    const host = await createHost({
      driverDomains: [{ name: 'net', bridges: ['lan0'], uplinks: [uplink], captures: { lan0: capture } }],
    });
    try {
      const server = await host.createDomain({
        name: 'boot',
        program: new URL('./boot-server.guest.ts', import.meta.url),
        args: { fileBytes: 200_000 },
        nics: [{ bridge: 'lan0' }],
      });
      const peer = `stream,id=n0,server=off,addr.type=unix,addr.path=${socket}`;
      const machine = ['-accel', 'tcg', '-m', '64', '-nographic', '-no-reboot', '-boot', 'n'];
      const card = ['-netdev', peer, '-device', 'virtio-net-pci,netdev=n0'];
      const { child, said } = start(t, 'qemu-system-x86_64', [...machine, ...card]);
      const late = sleep(90_000).then(() => server.destroy());
      const { result, message } = await server.exited;
      child.kill('SIGKILL');
      void late;
      const report = result as BootReport | undefined;
      t.true(report?.isComplete === true, `${message} ${JSON.stringify(report)} ${said()}`);
      t.true((report?.offers ?? 0) > 0 && (report?.acknowledged ?? 0) > 0 && (report?.arps ?? 0) > 0);
      t.true((report?.blocks ?? 0) * 1428 >= 200_000 - 1428);
    } finally {
      await host.close();
    }
    const lines = readCapture(t, capture);
    if (lines === undefined) return;
    t.regex(lines, /DHCP Discover/);
    t.regex(lines, /DHCP ACK/);
    t.regex(lines, /TFTP .*Last/i);
  });
}

test.serial(
  'passt attaches a guest to the outside, also after it was restarted: UDP to a forwarded port comes back',
  async (t) => {
    if (!has('passt')) return skip(t, 'passt is not installed');
    if (!has('ip') || process.getuid?.() !== 0) return skip(t, 'ip and root are needed for a network namespace');
    const tag = `srp${process.pid % 100_000}`;
    const subnet = `10.${150 + (process.pid % 40)}.${process.pid % 250}`;
    const ip = (...args: string[]) => spawnSync('ip', args, { encoding: 'utf8' });
    t.teardown(() => {
      ip('netns', 'del', tag);
      ip('link', 'del', `${tag}a`);
    });
    for (const args of [
      ['netns', 'add', tag],
      ['link', 'add', `${tag}a`, 'type', 'veth', 'peer', 'name', `${tag}b`, 'netns', tag],
      ['addr', 'add', `${subnet}.1/24`, 'dev', `${tag}a`],
      ['link', 'set', `${tag}a`, 'up'],
      ['-n', tag, 'link', 'set', 'lo', 'up'],
      ['-n', tag, 'addr', 'add', `${subnet}.2/24`, 'dev', `${tag}b`],
      ['-n', tag, 'link', 'set', `${tag}b`, 'up'],
      ['-n', tag, 'route', 'add', 'default', 'via', `${subnet}.1`],
    ]) {
      const { status, stderr } = ip(...args);
      if (status !== 0) return skip(t, `no network namespace: ${stderr}`);
    }
    const directory = scratch(t);
    const socket = join(directory, 'passt.sock');
    const capture = join(directory, 'lan0.pcapng');
    const options = ['-f', '--runas', '0', '--no-map-gw', '-s', socket, '-u', '7007:7'];
    const startPasst = async () => {
      rmSync(socket, { force: true });
      const passt = start(t, 'ip', ['netns', 'exec', tag, 'passt', ...options]);
      for (let i = 0; i < 100 && !existsSync(socket); i += 1) await sleep(50);
      return passt;
    };
    const passt = await startPasst();
    if (!existsSync(socket)) return skip(t, `passt does not come up: ${passt.said()}`);
    const host = await createHost({
      driverDomains: [
        { name: 'net', bridges: ['lan0'], uplinks: [{ bridge: 'lan0', connect: socket }], captures: { lan0: capture } },
      ],
    });
    const states: boolean[] = [];
    host.onUplink = ({ isUp }) => states.push(isUp);
    const client = createSocket('udp4');
    t.teardown(() => client.close());
    const exchange = async (name: string) => {
      const texts = Array.from({ length: 10 }, (_, i) => `${name} ${i} `.repeat(1 + i * 10));
      const got = new Set<string>();
      client.on('message', (bytes) => got.add(bytes.toString()));
      for (let round = 0; round < 40 && !texts.every((text) => got.has(text)); round += 1) {
        for (const text of texts) if (!got.has(text)) client.send(text, 7007, `${subnet}.2`);
        await sleep(250); // UDP may be lost until passt knows the guest's address
      }
      t.deepEqual(
        texts.filter((text) => !got.has(text)),
        [],
        passt.said(),
      );
    };
    try {
      // passt gives its guest the address of the namespace's own interface.
      await host.createDomain({
        name: 'echo',
        program: new URL('../../../examples/02-endpoint.guest.ts', import.meta.url),
        args: { ip: `${subnet}.2` },
        nics: [{ bridge: 'lan0' }],
      });
      await exchange('frame');
      passt.child.kill();
      for (let i = 0; i < 100 && states.length < 1; i += 1) await sleep(50);
      t.deepEqual(states, [false], 'the host is told that passt is gone');
      await startPasst();
      for (let i = 0; i < 300 && states.length < 2; i += 1) await sleep(50);
      t.deepEqual(states, [false, true], 'and that its successor was reached');
      await exchange('again');
    } finally {
      await host.close();
    }
    const lines = readCapture(t, capture);
    if (lines !== undefined) t.regex(lines, /UDP|ECHO/);
  },
);
