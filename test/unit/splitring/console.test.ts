import test from 'ava';
import { GuestConsole } from '../../../packages/frontend/src/console/guest-console.ts';
import { ConsoleReader, escapeLine } from '../../../packages/splitring/src/host/console-reader.ts';

function consolePair() {
  const page = new Uint8Array(new SharedArrayBuffer(4096));
  let now = 0;
  let events = 0;
  const lines: string[] = [];
  const guest = new GuestConsole(page, () => (events += 1));
  const reader = new ConsoleReader(
    page,
    { nowMs: () => now },
    (line) => lines.push(line),
    () => {},
  );
  return { page, guest, reader, lines, eventCount: () => events, advance: (ms: number) => (now += ms) };
}

test('a console carries lines of any script', (t) => {
  const { guest, reader, lines, eventCount } = consolePair();
  guest.print('ready');
  guest.print('größer als 4 KiB — 完了 🎉');
  while (reader.poll()) {}
  t.deepEqual(lines, ['ready', 'größer als 4 KiB — 完了 🎉']);
  t.is(eventCount(), 2);
});

test('a console carries more than its ring holds, piece by piece', (t) => {
  const { guest, reader, lines } = consolePair();
  const sent = Array.from({ length: 500 }, (_, at) => `line ${at}`);
  for (const line of sent) guest.print(line);
  for (let turn = 0; turn < 100; turn += 1) {
    reader.poll();
    guest.poll();
  }
  t.deepEqual(lines, sent);
});

test('a guest that nobody reads drops lines, counts them and never blocks', (t) => {
  const { guest } = consolePair();
  for (let at = 0; at < 5000; at += 1) guest.print('x'.repeat(100));
  t.true(guest.droppedLines > 4000);
});

test('a flood is held to the rate limit, and goes on when time passes (XSA-180)', (t) => {
  const { guest, reader, lines, advance } = consolePair();
  const pump = () => {
    for (let turn = 0; turn < 5000; turn += 1) {
      guest.print('x'.repeat(99));
      reader.poll();
    }
  };
  pump();
  const first = lines.length;
  t.true(first * 100 <= 256 * 1024 + 2048);
  t.true(reader.deadlineMs() < Number.POSITIVE_INFINITY);
  pump();
  t.is(lines.length, first);
  advance(1000);
  pump();
  t.true(lines.length > first);
});

test('a hostile console page breaks only the console', (t) => {
  const { page, reader, lines } = consolePair();
  const words = new Uint32Array(page.buffer);
  for (const value of [0x80000000, 0xffffffff, 2049]) {
    words[3084 / 4] = value;
    t.notThrows(() => reader.poll());
  }
  t.deepEqual(lines, []);
});

const escapes: readonly [string, string][] = [
  ['plain', 'plain'],
  ['a\u001b[2Jb', 'a\\x1b[2Jb'],
  ['bell\u0007', 'bell\\x07'],
  ['tab\tstays', 'tab\tstays'],
  ['right\u202eleft', 'right\\x202eleft'],
];
for (const [raw, shown] of escapes) {
  test(`escapeLine shows ${JSON.stringify(raw)} harmlessly`, (t) => t.is(escapeLine(raw), shown));
}
