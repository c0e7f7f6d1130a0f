// One-way messages: how many a second, at five sizes.
import type { CaseSpec, SubjectSpec } from '../harness/contract.ts';
import type { OnewayParams } from './params.ts';

/** Size, slots and batch of each case; rings stay within half a second-level cache, batches within a quarter of the ring. */
const SIZES: readonly (readonly [bytes: number, slots: number, batch: number])[] = [
  [8, 1024, 32],
  [64, 1024, 32],
  [112, 1024, 32],
  [1024, 256, 32],
  [16384, 16, 2],
];

/** Batches that a peer takes lie in a buffer of the caller's; beyond this they leave the first-level cache. */
const STAGED_BYTES = 8192;

const PEERS = ['native', 'postMessage', 'ringbuf.js'];

/** The one-way cases. */
export function onewayCases(): CaseSpec[] {
  return SIZES.map(([bytes, slots, batch]) => {
    const subject = (name: string, file: string, variant: string, baselines: readonly string[]): SubjectSpec => {
      const staged = file === 'ringbuf' || file === 'post-message';
      const most = staged ? Math.max(2, STAGED_BYTES / bytes) : batch;
      const params: OnewayParams = { bytes, slots, batch: Math.min(batch, most), variant };
      return { name, run: { module: new URL(`./subjects/${file}.js`, import.meta.url).href, params }, baselines };
    };
    const peer = (...args: Parameters<typeof subject>): SubjectSpec => ({ ...subject(...args), isPeer: true });
    const native = (name: string, publishEvery: number, baselines: readonly string[]): SubjectSpec => ({
      name,
      run: { native: 'ring', args: ['oneway', String(bytes), String(slots), String(publishEvery)] },
      baselines,
      isPeer: true,
    });
    return {
      name: `oneway-${bytes}`,
      title: `One-way messages of ${bytes} B`,
      unit: 'messages/s',
      metrics: { 'cpu-front': 'ns', 'cpu-back': 'ns' },
      group: 'oneway',
      x: bytes,
      trialMs: 2,
      subjects: [
        native('native', batch, []),
        native('native-unbatched', 1, ['native']),
        subject('fixed', 'fixed', 'plain', [...PEERS, 'ringbuf.js-batched']),
        subject('fixed-single', 'fixed', 'plain-single', PEERS),
        subject('fixed-auto', 'fixed', 'plain-auto', ['fixed-single', 'native']),
        subject('fixed-wasm', 'fixed', 'wasm', [...PEERS, 'ringbuf.js-batched']),
        subject('channel', 'channel', 'in-place', PEERS),
        subject('channel-plain', 'channel', 'plain', PEERS),
        subject('channel-wasm', 'channel', 'wasm', PEERS),
        peer('ringbuf.js', 'ringbuf', 'single', PEERS.slice(0, 2)),
        peer('ringbuf.js-batched', 'ringbuf', 'batched', PEERS.slice(0, 2)),
        peer('postMessage', 'post-message', 'clone', PEERS.slice(0, 1)),
        peer('postMessage-transfer', 'post-message', 'transfer', PEERS.slice(0, 1)),
        peer('postMessage-batched', 'post-message', 'batched', PEERS.slice(0, 1)),
      ],
    };
  });
}
