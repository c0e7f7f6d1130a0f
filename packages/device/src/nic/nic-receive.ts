// The receive half of a card: puts frames into posted buffers and writes descriptors back.
import { hasGoodChecksums } from '../net/offload.ts';
import { createPacketHeaders, ETHERTYPE, parseHeaders, read16 } from '../net/packet-headers.ts';
import { removeTag } from '../net/vlan-tag.ts';
import type { NicDma } from './nic-dma.ts';
import type { NicQueueState } from './nic-queue-state.ts';
import { RXD } from './nic-registers.ts';

/** What became of a frame. */
export const RECEIVE = { taken: 0, noBuffer: 1, fault: 2 } as const;

/** Put `frame` into the buffers of `queue`; `stripVlan` takes a tag out of it and puts it into the descriptor. */
export function receiveFrame(
  dma: NicDma,
  queue: NicQueueState,
  frame: Uint8Array,
  stripVlan: boolean,
): (typeof RECEIVE)[keyof typeof RECEIVE] {
  const bufferBytes = queue.bufferUnits === 0 ? 2048 : queue.bufferUnits * 1024;
  const isTagged = stripVlan && frame.length >= 18 && read16(frame, 12) === ETHERTYPE.vlan;
  const bytes = isTagged ? removeTag(frame) : frame;
  const buffers = Math.max(1, Math.ceil(bytes.length / bufferBytes));
  // One descriptor always stays the card's, or a full ring would look empty.
  if (queue.available < buffers) return RECEIVE.noBuffer;
  const checks = checkBits(frame);
  const tag = isTagged ? read16(frame, 14) : 0;
  for (let i = 0; i < buffers; i += 1) {
    const words = dma.descriptor(queue.address(queue.head), true);
    if (words === undefined) return RECEIVE.fault;
    const address = ((words[1] as number) >>> 0) * 0x1_0000_0000 + ((words[0] as number) >>> 0); // four words, read once
    const part = bytes.subarray(i * bufferBytes, (i + 1) * bufferBytes);
    const isWritten = dma.write(address, part);
    const isLast = i + 1 === buffers;
    words[0] = 0;
    words[1] = 0;
    words[3] = part.length | (tag << 16);
    const status = RXD.done | (isLast ? RXD.eop : 0) | (isTagged ? RXD.vlan : 0) | (isLast ? checks : 0);
    Atomics.store(words, 2, isWritten ? status : status | (1 << 31)); // the word that the driver polls comes last
    queue.advance();
    if (!isWritten) return RECEIVE.fault;
  }
  return RECEIVE.taken;
}

/** What checking the sums found, as descriptor bits. */
function checkBits(frame: Uint8Array): number {
  const headers = createPacketHeaders();
  if (!parseHeaders(frame, frame.length, headers)) return 0;
  const checked = RXD.ipChecked | (headers.transportAt === 0 ? 0 : RXD.l4Checked);
  return hasGoodChecksums(frame, frame.length) ? checked : checked | RXD.l4Error;
}
