// Captures of a bridge's ports in the pcapng format, readable by tcpdump and tshark. draft-ietf-opsawg-pcapng
import type { Clock } from '@splitring/hypervisor';
import { ETHERNET_HEADER_BYTES } from '@splitring/hypervisor/io';
import type { Bridge, BridgeLink, FrameTap } from './bridge.ts';
import type { Frame, FramePage } from './frame.ts';
import { PrivatePage } from './private-page.ts';

const SECTION_HEADER = 0x0a0d0d0a;
const INTERFACE_DESCRIPTION = 1;
const ENHANCED_PACKET = 6;
const BYTE_ORDER_MAGIC = 0x1a2b3c4d;
const LINKTYPE_ETHERNET = 1;
const OPT_END = 0;
const OPT_IF_NAME = 2;
const OPT_EPB_FLAGS = 2;
/** Flags: inbound or outbound, and "the checksum is not filled in". */
const EPB_INBOUND = 1;
const EPB_OUTBOUND = 2;

/** How a capture is made. */
export interface CaptureOptions {
  /** Receives the file's bytes, block by block, each in memory of its own. */
  readonly write: (bytes: Uint8Array<ArrayBuffer>) => void;
  /** Time of the packets. */
  readonly clock: Clock;
  /** Milliseconds since 1970 at the clock's zero; 0 leaves the stamps relative. */
  readonly epochMs?: number;
  /** Bytes kept of each frame; all by default. */
  readonly snapBytes?: number;
}

/**
 * One capture file: any number of ports, each an interface of it.
 *
 * @example
 * const capture = new PcapngCapture({ write: (bytes) => file.write(bytes), clock });
 * const end = capture.attach(link);
 */
export class PcapngCapture {
  /** Frames captured. */
  frames = 0;
  readonly #options: CaptureOptions;
  #interfaces = 0;

  /** Begin a file: writes its header. */
  constructor(options: CaptureOptions) {
    this.#options = options;
    const body = new Uint8Array(16);
    const view = new DataView(body.buffer);
    view.setUint32(0, BYTE_ORDER_MAGIC, true);
    view.setUint16(4, 1, true);
    view.setInt32(8, -1, true); // length of the section is not known
    view.setInt32(12, -1, true);
    this.#block(SECTION_HEADER, body);
  }

  /** Capture what passes `link` from now on. @returns how to end it */
  attach(link: BridgeLink): () => void {
    const index = this.#interfaces;
    this.#interfaces += 1;
    const name = new TextEncoder().encode(link.port.name);
    const body = new Uint8Array(8 + 4 + padded(name.length) + 4);
    const view = new DataView(body.buffer);
    view.setUint16(0, LINKTYPE_ETHERNET, true);
    view.setUint32(4, this.#options.snapBytes ?? 0, true);
    view.setUint16(8, OPT_IF_NAME, true);
    view.setUint16(10, name.length, true);
    body.set(name, 12);
    view.setUint32(12 + padded(name.length), OPT_END, true);
    this.#block(INTERFACE_DESCRIPTION, body);
    const tap: FrameTap = { capture: (frame, direction) => this.#packet(index, frame, direction) };
    link.tap = tap;
    return () => {
      if (link.tap === tap) link.tap = undefined;
    };
  }

  /** Capture every port of `bridge`, those attached later too, until the bridge is gone. */
  attachAll(bridge: Bridge): void {
    for (const link of bridge.links) this.attach(link);
    bridge.onAttach = (link) => {
      this.attach(link);
    };
  }

  #packet(index: number, frame: Frame, direction: 'in' | 'out'): void {
    const kept = Math.min(frame.lengthBytes, this.#options.snapBytes ?? frame.lengthBytes);
    const body = new Uint8Array(20 + padded(kept) + 12);
    const view = new DataView(body.buffer);
    // Microseconds, the default resolution.
    const stamp = Math.round((this.#options.clock.nowMs() + (this.#options.epochMs ?? 0)) * 1000);
    view.setUint32(0, index, true);
    view.setUint32(4, Math.floor(stamp / 0x1_0000_0000), true);
    view.setUint32(8, stamp % 0x1_0000_0000, true);
    view.setUint32(12, kept, true);
    view.setUint32(16, frame.lengthBytes, true);
    copyStart(frame, body, 20, kept);
    const options = 20 + padded(kept);
    view.setUint16(options, OPT_EPB_FLAGS, true);
    view.setUint16(options + 2, 4, true);
    view.setUint32(options + 4, direction === 'in' ? EPB_INBOUND : EPB_OUTBOUND, true);
    this.frames += 1;
    this.#block(ENHANCED_PACKET, body);
  }

  #block(type: number, body: Uint8Array): void {
    const bytes = new Uint8Array(12 + body.length);
    const view = new DataView(bytes.buffer);
    view.setUint32(0, type, true);
    view.setUint32(4, bytes.length, true);
    bytes.set(body, 8);
    view.setUint32(8 + body.length, bytes.length, true);
    this.#options.write(bytes);
  }
}

function padded(lengthBytes: number): number {
  return (lengthBytes + 3) & ~3;
}

/** Copy the first `kept` bytes of a frame to `at`; its header as it was read. */
function copyStart(frame: Frame, target: Uint8Array, at: number, kept: number): void {
  let filled = 0;
  for (let i = 0; i < frame.fragments && filled < kept; i += 1) {
    const count = Math.min(frame.lengths[i] as number, kept - filled); // in range, as are the others
    target.set((frame.pages[i] as FramePage).slice(frame.offsets[i] as number, count), at + filled);
    filled += count;
  }
  if (kept >= ETHERNET_HEADER_BYTES) frame.writeHeader(new PrivatePage(target.subarray(at)));
}
