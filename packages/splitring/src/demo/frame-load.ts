// The demo's network load: two guests send each other numbered, filled frames and check every byte of what arrives.
import type { GuestContext, Nic } from '@splitring/frontend';

/** IEEE 802 local experimental EtherType 1. */
const ETHERTYPE = 0x88b5;
const HEADER_BYTES = 14;
/** Frame bytes: Ethernet header, kind, sequence, acknowledged, then filling. */
const FRAME_BYTES = 1514;
/** Frames that may be on their way unacknowledged. */
const WINDOW = 64;
const KIND = { data: 1, acknowledge: 2, end: 3, hello: 4 } as const;
/** Received frames after which an acknowledgement is due even without data to carry it. */
const ACKNOWLEDGE_EVERY = WINDOW / 4;
/** How long to wait for the peer to appear, and for its last frames: on a crowded machine it may start much later. */
const PEER_TIMEOUT_MS = 20_000;
/** How often to say again what the peer may not have heard. */
const REPEAT_MS = 5;

interface Load {
  readonly guest: GuestContext<unknown>;
  readonly nic: Nic;
  readonly ownMac: string;
  readonly peerMac: string;
  readonly isOver: () => boolean;
}

const macBytes = (text: string): number[] => text.split(':').map((part) => Number.parseInt(part, 16));

/** One end of the conversation. */
class Conversation {
  /** Frames sent, and so the next sequence number. */
  sent = 0;
  /** Frames received in order and right. */
  received = 0;
  /** How many of ours the peer has told us it received. */
  acknowledged = 0;
  /** Whether the peer has been heard: before, it may not be on the bridge yet. */
  hasPeer = false;
  /** How many frames the peer says it sent in all, once it has ended. */
  peerTotal: number | undefined = undefined;
  private toldPeer = 0;
  private resolveNews = () => {};
  private readonly load: Load;
  private readonly frame = new Uint8Array(FRAME_BYTES);
  private readonly view = new DataView(this.frame.buffer);

  constructor(load: Load) {
    this.load = load;
    this.frame.set([...macBytes(load.peerMac), ...macBytes(load.ownMac)]);
    this.view.setUint16(12, ETHERTYPE);
  }

  /** Send one frame. @returns false while there is no room */
  send(kind: number): boolean {
    this.view.setUint32(HEADER_BYTES, kind);
    this.view.setUint32(HEADER_BYTES + 4, this.sent);
    this.view.setUint32(HEADER_BYTES + 8, this.received);
    this.frame.fill(this.sent & 0xff, HEADER_BYTES + 12);
    if (!this.load.nic.send(this.frame)) return false;
    if (kind === KIND.data) this.sent += 1;
    this.toldPeer = this.received;
    return true;
  }

  /** Whether the peer should hear how much has arrived. */
  get owesAcknowledgement(): boolean {
    return this.received - this.toldPeer >= ACKNOWLEDGE_EVERY;
  }

  /** Whether more data may be on its way. */
  get hasWindow(): boolean {
    return this.sent - this.acknowledged < WINDOW;
  }

  /** Resolves when something has arrived, or `wake` is called. */
  news(): Promise<void> {
    return new Promise((resolve) => {
      this.resolveNews = resolve;
    });
  }

  /** Let whoever waits for news look again. */
  wake(): void {
    this.resolveNews();
  }

  /** Take in a frame; anything unexpected counts as an error. */
  receive(frame: Uint8Array): void {
    const { counters } = this.load.guest;
    const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
    if (frame.byteLength < HEADER_BYTES + 12 || view.getUint16(12) !== ETHERTYPE) return; // not ours to judge
    const kind = view.getUint32(HEADER_BYTES);
    const sequence = view.getUint32(HEADER_BYTES + 4);
    this.acknowledged = Math.max(this.acknowledged, view.getUint32(HEADER_BYTES + 8));
    this.hasPeer = true;
    this.wake();
    if (kind === KIND.end) this.peerTotal = sequence;
    if (kind !== KIND.data) return;
    const isWhole =
      frame.byteLength === FRAME_BYTES && frame.subarray(HEADER_BYTES + 12).every((byte) => byte === (sequence & 0xff));
    if (!isWhole || sequence !== this.received) {
      counters.add('errors', 1);
      this.received = sequence;
    }
    this.received += 1;
    counters.add('frames', 1);
    counters.add('bytes', frame.byteLength);
  }
}

/**
 * Exchange frames until `isOver`, then until both ends have everything. Counters: `frames` and `bytes` received,
 * `errors`: frames damaged, out of order or missing.
 */
export async function runFrameLoad(load: Load): Promise<void> {
  const { nic, guest, isOver } = load;
  const talk = new Conversation(load);
  nic.onFrame = (frame) => talk.receive(frame.toBytes());
  let isTicking = true;
  const ticking = (async () => {
    while (isTicking) {
      await guest.sleep(REPEAT_MS);
      talk.wake();
    }
  })();
  const { signal, clock } = guest;
  const appearBy = clock.nowMs() + PEER_TIMEOUT_MS;
  while (!talk.hasPeer && !signal.aborted && clock.nowMs() < appearBy) {
    talk.send(KIND.hello);
    await talk.news();
  }
  // At least one window, however late the peer was.
  const isEnough = () => isOver() && (talk.sent >= WINDOW || clock.nowMs() >= appearBy);
  while (talk.hasPeer && !signal.aborted && !isEnough()) {
    if (talk.hasWindow && talk.send(KIND.data)) continue;
    if (talk.owesAcknowledgement) talk.send(KIND.acknowledge);
    await talk.news();
  }
  const completeBy = clock.nowMs() + PEER_TIMEOUT_MS;
  const isComplete = () => talk.peerTotal === talk.received && talk.acknowledged === talk.sent;
  while (!isComplete() && !signal.aborted && clock.nowMs() < completeBy) {
    talk.send(KIND.end);
    await talk.news();
  }
  // The peer may still wait for our last word.
  for (let repeat = 0; repeat < 3; repeat += 1) talk.send(KIND.end);
  isTicking = false;
  await ticking;
  if (isComplete() || signal.aborted) return;
  guest.counters.add('errors', 1);
  guest.print(
    `network: sent ${talk.sent}, acknowledged ${talk.acknowledged}, received ${talk.received} of ${talk.peerTotal}`,
  );
}
