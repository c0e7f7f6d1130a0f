// Baseline: frames as transferred ArrayBuffers over a MessagePort from thread to thread, alone or 32 to a message.
//
// At most 256 frames are on their way; the receiver says every 64 how many it has.
import type { OpenSubject } from '../../harness/contract.ts';
import { openPair, type PairDefinition } from '../../harness/pair.ts';
import { makeFrame, type NetParams } from '../params.ts';

const WINDOW = 256;
const ACKNOWLEDGE = 64;

type PostParams = NetParams & { readonly batch: number };

export const pair: PairDefinition<PostParams, null> = {
  share: () => null,

  front: (_shared, { bytes, batch }, port) => {
    const frame = makeFrame(0, 1, bytes);
    let acknowledged = 0;
    let wake: (() => void) | undefined;
    port.listen((count) => {
      acknowledged = count as number; // the back posts numbers
      wake?.();
    });
    return async (operations) => {
      acknowledged = 0;
      let sent = 0;
      while (acknowledged < operations) {
        while (sent < operations && sent - acknowledged + batch <= WINDOW) {
          const count = Math.min(batch, operations - sent);
          const buffers: ArrayBuffer[] = [];
          for (let i = 0; i < count; i++) {
            const copy = new Uint8Array(bytes);
            copy.set(frame);
            buffers.push(copy.buffer);
          }
          port.post(batch === 1 ? buffers[0] : buffers, buffers);
          sent += count;
        }
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      return { checksum: operations };
    };
  },

  back: (_shared, _params, port) => {
    let received = 0;
    let told = 0;
    let expected = 0;
    let finished: (() => void) | undefined;
    port.listen((data) => {
      received += data instanceof ArrayBuffer ? 1 : (data as ArrayBuffer[]).length;
      if (received < expected && received - told < ACKNOWLEDGE) return;
      told = received;
      port.post(received);
      if (received === expected) finished?.();
    });
    return (operations) => {
      received = 0;
      told = 0;
      expected = operations;
      return new Promise((resolve) => {
        finished = () => resolve({ checksum: received });
      });
    };
  },
};

/** Open the subject. */
export function open(params: PostParams): Promise<OpenSubject> {
  return openPair(import.meta.url, pair, params);
}
