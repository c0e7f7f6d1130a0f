// The guest's client against a server that answers by hand: any order, wrong ids, wrong types, too much.
import { RingXenstoreClient, type StoreReply, type XenstoreTransaction } from '@splitring/hypervisor';
import { encodeXsMessage, latin1, readXsHeader, XS, XS_FEATURE, XS_PAGE } from '@splitring/hypervisor/io';
import test from 'ava';
import { ByteRingConsumer, ByteRingProducer, XENSTORE_PAGE } from 'sharedarraybuffer-ring';

/** The other end of a page, played by the test. */
class HandServer {
  readonly page = new Uint8Array(new SharedArrayBuffer(4096));
  readonly words = new DataView(this.page.buffer);
  private requests = new ByteRingConsumer(this.page, XENSTORE_PAGE.req);
  private answers = new ByteRingProducer(this.page, XENSTORE_PAGE.rsp);

  constructor(features: number = XS_FEATURE.reconnection | XS_FEATURE.error) {
    this.words.setUint32(XS_PAGE.serverFeatures, features, true);
  }

  /** Requests that came, as `type id tx payload`. */
  take(): { type: number; reqId: number; txId: number; payload: string }[] {
    const bytes = new Uint8Array(2048);
    const count = this.requests.read(bytes);
    const found = [];
    for (let at = 0; at + 16 <= count; ) {
      const header = { type: 0, reqId: 0, txId: 0, lengthBytes: 0 };
      readXsHeader(bytes.subarray(at, at + 16), header);
      const payload = latin1(bytes.subarray(at + 16, at + 16 + header.lengthBytes));
      found.push({ type: header.type, reqId: header.reqId, txId: header.txId, payload });
      at += 16 + header.lengthBytes;
    }
    return found;
  }

  say(type: number, reqId: number, payload: string): void {
    this.answers.write(encodeXsMessage(type, reqId, 0, payload));
  }

  raw(bytes: Uint8Array): void {
    this.answers.write(bytes);
  }

  get wantsReconnect(): boolean {
    return this.words.getUint32(XS_PAGE.connection, true) === 1;
  }

  accept(): void {
    for (const at of [XS_PAGE.reqCons, XS_PAGE.reqProd, XS_PAGE.rspCons, XS_PAGE.rspProd])
      this.words.setUint32(at, 0, true);
    this.requests = new ByteRingConsumer(this.page, XENSTORE_PAGE.req, { at: 0 });
    this.answers = new ByteRingProducer(this.page, XENSTORE_PAGE.rsp, { at: 0 });
    this.words.setUint32(XS_PAGE.error, 0, true);
    this.words.setUint32(XS_PAGE.connection, 0, true);
  }
}

function connect(server = new HandServer(), maxPending = 1024) {
  let notices = 0;
  const client = new RingXenstoreClient({
    page: server.page,
    notify: () => {
      notices += 1;
    },
    maxPending,
  });
  const log: string[] = [];
  const note = (name: string) => (reply: StoreReply<unknown>) => {
    log.push(`${name} ${reply.ok ? String(reply.value) : reply.error}`);
  };
  return { server, client, log, note, notices: () => notices };
}

test('answers may come in any order, and are matched by their id', (t) => {
  const { server, client, log, note } = connect();
  client.read('a', note('a'));
  client.read('b', note('b'));
  client.read('c', note('c'));
  const [a, b, c] = server.take();
  server.say(XS.READ, c?.reqId ?? 0, '3');
  server.say(XS.ERROR, a?.reqId ?? 0, 'ENOENT\0');
  server.say(XS.READ, b?.reqId ?? 0, '2');
  t.deepEqual(log, [], 'callbacks run from poll only');
  client.poll();
  t.deepEqual(log, ['c 3', 'a ENOENT', 'b 2']);
});

test('an answer that nobody asked for, twice, or of another type is counted and ignored', (t) => {
  const { server, client, log, note } = connect();
  client.read('a', note('a'));
  const [a] = server.take();
  const id = a?.reqId ?? 0;
  server.say(XS.READ, id + 77, 'x');
  server.say(XS.DIRECTORY, id, 'x\0');
  server.say(XS.READ, id, 'right');
  server.say(XS.READ, id, 'again');
  client.poll();
  t.deepEqual(log, ['a right']);
  t.is(client.strayMessages, 3);
});

test('an error of a name that may not travel reads as EINVAL', (t) => {
  const { server, client, log, note } = connect();
  client.read('a', note('a'));
  server.say(XS.ERROR, server.take()[0]?.reqId ?? 0, 'EWHATEVER\0');
  client.poll();
  t.deepEqual(log, ['a EINVAL']);
});

test('a message longer than the protocol allows makes the client ask for a new connection, watches included', (t) => {
  const { server, client, log, note } = connect();
  const seen: string[] = [];
  client.watch('w', (path) => seen.push(path));
  client.read('a', note('a'));
  server.take();
  const header = new DataView(new ArrayBuffer(16));
  header.setUint32(12, 4097, true);
  server.raw(new Uint8Array(header.buffer));
  client.poll();
  client.poll();
  t.true(server.wantsReconnect);
  t.deepEqual(log, ['a ECONNRESET']);
  client.read('b', note('b'));
  t.false(client.arm(), 'nothing of the page is used until the server has answered');
  server.accept();
  t.true(client.arm());
  client.poll();
  const [watch, read] = server.take();
  t.is(watch?.type, XS.WATCH);
  t.regex(watch?.payload ?? '', /^w\0w1\0$/);
  server.say(XS.READ, read?.reqId ?? 0, '2');
  server.say(XS.WATCH_EVENT, 0, 'w\0w1\0');
  client.poll();
  t.deepEqual(log, ['a ECONNRESET', 'b 2']);
  t.deepEqual(seen, ['w']);
});

test('a server without the reconnection feature leaves a broken client unusable, and says so', (t) => {
  const { server, client, log, note } = connect(new HandServer(0));
  client.read('a', note('a'));
  server.words.setUint32(XS_PAGE.rspProd, 5000, true);
  client.poll();
  client.poll();
  t.false(client.isUsable);
  client.read('b', note('b'));
  client.poll();
  t.deepEqual(log, ['a ECONNRESET', 'b EBUSY']);
  t.false(client.arm());
});

test('requests beyond the limit fail at once instead of piling up', (t) => {
  const { client, log, note } = connect(new HandServer(), 4);
  for (let i = 0; i < 6; i++) client.read(`k${i}`, note(`k${i}`));
  client.poll();
  t.deepEqual(log, ['k4 EBUSY', 'k5 EBUSY']);
});

test('a request too long for a message is E2BIG and never sent', (t) => {
  const { server, client, log, note } = connect();
  client.write('k', 'x'.repeat(4095), note('long'));
  client.poll();
  t.deepEqual(log, ['long E2BIG']);
  t.deepEqual(server.take(), []);
});

test('events of several paths below one watch are one event, of the watched path', (t) => {
  const { server, client } = connect();
  const seen: string[] = [];
  const end = client.watch('d', (path) => seen.push(path), 2);
  t.is(server.take()[0]?.payload, 'd\0w1\x002\0', 'the depth travels');
  server.say(XS.WATCH_EVENT, 0, 'd/a\0w1\0');
  client.poll();
  server.say(XS.WATCH_EVENT, 0, 'd/a\0w1\0');
  server.say(XS.WATCH_EVENT, 0, 'd/a\0w1\0');
  client.poll();
  server.say(XS.WATCH_EVENT, 0, 'd/a\0w1\0');
  server.say(XS.WATCH_EVENT, 0, 'd/b\0w1\0');
  client.poll();
  t.deepEqual(seen, ['d/a', 'd/a', 'd']);
  server.say(XS.WATCH_EVENT, 0, 'd/a\0w1\0');
  end();
  end();
  client.poll();
  t.is(seen.length, 3, 'none after its end');
  t.deepEqual(
    server.take().map(({ type }) => type),
    [XS.UNWATCH],
    'ended once',
  );
});

test('a message larger than the ring travels in pieces, with a notification for each', (t) => {
  const { server, client, log, note, notices } = connect();
  client.write('k', 'x'.repeat(3000), note('big'));
  let bytes = 0;
  const consumer = new ByteRingConsumer(server.page, XENSTORE_PAGE.req);
  const chunk = new Uint8Array(1024);
  for (let i = 0; i < 10; i++) {
    bytes += Math.max(0, consumer.read(chunk));
    client.poll();
  }
  t.is(bytes, 16 + 2 + 3000);
  t.true(notices() >= 3);
  server.say(XS.WRITE, 1, 'OK\0');
  client.poll();
  t.deepEqual(log, ['big undefined']);
});

test('a long listing that changes while it is read is read from the start again', (t) => {
  const { server, client, log, note } = connect();
  client.directory('d', note('names'));
  const answer = (type: number, text: string) => {
    const [request] = server.take();
    server.say(type, request?.reqId ?? 0, text);
    client.poll();
    return request?.payload;
  };
  answer(XS.ERROR, 'E2BIG\0');
  t.is(answer(XS.DIRECTORY_PART, '7\0a\0bb\0'), 'd\x000\0');
  t.is(answer(XS.DIRECTORY_PART, '8\0cc\0\0'), 'd\x005\0', 'changed');
  t.is(answer(XS.DIRECTORY_PART, '8\0a\0cc\0'), 'd\x000\0');
  t.is(answer(XS.DIRECTORY_PART, '8\0\0'), 'd\x005\0');
  t.deepEqual(log, ['names a,cc']);
});

test('a refused watch is counted', (t) => {
  const { server, client } = connect();
  client.watch('w', () => {});
  server.say(XS.ERROR, server.take()[0]?.reqId ?? 0, 'ENOSPC\0');
  client.poll();
  t.is(client.refusedWatches, 1);
});

test('transactions beyond eight wait until others end, however those end; none is refused', (t) => {
  const { server, client } = connect();
  const open: XenstoreTransaction[] = [];
  const errors: string[] = [];
  const begin = () =>
    client.transaction((reply) => {
      if (reply.ok) open.push(reply.value);
      else errors.push(reply.error);
    });
  const starts = () => server.take().filter(({ type }) => type === XS.TRANSACTION_START);
  const grant = (asked: ReturnType<typeof starts>) => {
    for (const { reqId } of asked) server.say(XS.TRANSACTION_START, reqId, `${reqId}\0`);
    while (client.poll());
  };
  for (let i = 0; i < 12; i += 1) begin();
  const first = starts();
  t.is(first.length, 8);
  server.say(XS.ERROR, first[0]?.reqId ?? 0, 'ENOSPC\0');
  grant(first.slice(1));
  t.deepEqual(errors, ['ENOSPC'], 'a refusal is told');
  grant(starts());
  t.is(open.length, 8, 'and makes room');
  open[0]?.end(true, () => {});
  open[1]?.end(false, () => {});
  while (client.poll());
  const ends = server.take();
  t.deepEqual(
    ends.map(({ type }) => type),
    [XS.TRANSACTION_END, XS.TRANSACTION_END],
    'room is made when the server has answered',
  );
  server.say(XS.TRANSACTION_END, ends[0]?.reqId ?? 0, 'OK\0');
  server.say(XS.ERROR, ends[1]?.reqId ?? 0, 'EAGAIN\0');
  while (client.poll());
  grant(starts());
  t.is(open.length, 10);
});

test('a lost connection makes room for transactions that wait', (t) => {
  const { server, client } = connect();
  const outcomes: string[] = [];
  for (let i = 0; i < 9; i += 1) client.transaction((reply) => outcomes.push(reply.ok ? 'open' : reply.error));
  server.take();
  client.reconnect();
  server.accept();
  while (client.poll());
  t.deepEqual(outcomes, new Array(8).fill('ECONNRESET'));
  t.deepEqual(
    server.take().map(({ type }) => type),
    [XS.TRANSACTION_START],
  );
});
