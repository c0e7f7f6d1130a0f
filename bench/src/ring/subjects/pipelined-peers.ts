// Baselines: requests of 112 B and responses of 16 B over a pair of ringbuf.js rings, or over postMessage.
import type { OpenSubject } from '../../harness/contract.ts';
import { type HalfReport, openPair, type PairDefinition } from '../../harness/pair.ts';
import { type PipelinedParams, REQUEST_BYTES } from '../params.ts';
import { timeAsyncRoundTrips } from '../round-trips.ts';
import { attachRingbuf, ringbufStorage } from './ringbuf.ts';

const WORDS = REQUEST_BYTES / 4;
const RESPONSE_WORDS = 4;

function write(request: Int32Array, id: number): void {
  for (let w = 0; w < WORDS; w++) request[w] = id + w;
}

function sumOf(request: Int32Array): number {
  let sum = 0;
  for (let w = 0; w < WORDS; w++) sum = (sum + (request[w] ?? 0)) | 0;
  return sum;
}

interface Rings {
  readonly requests: SharedArrayBuffer;
  readonly responses: SharedArrayBuffer;
}

const ringbuf: PairDefinition<PipelinedParams, Rings> = {
  share: () => ({ requests: ringbufStorage(WORDS * 256), responses: ringbufStorage(RESPONSE_WORDS * 256) }),

  front: (shared, { depth }) => {
    const requests = attachRingbuf(shared.requests);
    const responses = attachRingbuf(shared.responses);
    const request = new Int32Array(WORDS);
    const response = new Int32Array(RESPONSE_WORDS);
    return (operations) => {
      let checksum = 0;
      let staged = 0;
      for (let answered = 0; answered < operations; ) {
        while (staged < operations && staged - answered < depth) {
          write(request, staged);
          while (requests.availableWrite() < WORDS);
          requests.push(request, WORDS);
          staged += 1;
        }
        while (responses.availableRead() >= RESPONSE_WORDS) {
          responses.pop(response, RESPONSE_WORDS);
          checksum = (checksum + (response[0] ?? 0) + (response[1] ?? 0)) | 0;
          answered += 1;
        }
      }
      return { checksum };
    };
  },

  back: (shared) => {
    const requests = attachRingbuf(shared.requests);
    const responses = attachRingbuf(shared.responses);
    const request = new Int32Array(WORDS);
    const response = new Int32Array(RESPONSE_WORDS);
    return (operations) => {
      let checksum = 0;
      for (let served = 0; served < operations; ) {
        if (requests.availableRead() < WORDS) continue;
        requests.pop(request, WORDS);
        response[0] = request[0] ?? 0;
        response[1] = sumOf(request);
        checksum = (checksum + (response[0] ?? 0) + (response[1] ?? 0)) | 0;
        while (responses.availableWrite() < RESPONSE_WORDS);
        responses.push(response, RESPONSE_WORDS);
        served += 1;
      }
      return { checksum };
    };
  },
};

const postMessage: PairDefinition<PipelinedParams, null> = {
  share: () => null,

  front: (_shared, { depth, timed }, port) => {
    const request = new Int32Array(WORDS);
    let staged = 0;
    let answered = 0;
    let wanted = 0;
    let checksum = 0;
    let finished: (() => void) | undefined;
    const send = () => {
      write(request, staged);
      staged += 1;
      port.post(request);
    };
    port.listen((message) => {
      const response = message as Int32Array; // what the back posts
      checksum = (checksum + (response[0] ?? 0) + (response[1] ?? 0)) | 0;
      answered += 1;
      if (answered === wanted) finished?.();
      else if (staged < wanted) send();
    });
    const run = (operations: number) =>
      new Promise<void>((resolve) => {
        finished = resolve;
        wanted += operations;
        for (let i = 0; i < depth && staged < wanted; i++) send();
      });
    return async (operations) => {
      staged = answered = wanted = checksum = 0;
      if (timed) return { ...(await timeAsyncRoundTrips(operations, () => run(1))), checksum };
      await run(operations);
      return { checksum };
    };
  },

  back: (_shared, _params, port) => {
    let served = 0;
    let wanted = 0;
    let checksum = 0;
    let finished: ((report: HalfReport) => void) | undefined;
    port.listen((message) => {
      const request = message as Int32Array; // what the front posts
      const response = new Int32Array([request[0] ?? 0, sumOf(request), 0, 0]);
      checksum = (checksum + (response[0] ?? 0) + (response[1] ?? 0)) | 0;
      port.post(response);
      served += 1;
      if (served === wanted) finished?.({ checksum });
    });
    return (operations) => {
      served = checksum = 0;
      wanted = operations;
      return new Promise((resolve) => {
        finished = resolve;
      });
    };
  },
};

export const pair: PairDefinition<PipelinedParams, Rings | null> = {
  share: (params) => (params.peer === 'ringbuf.js' ? ringbuf.share(params) : null),
  front: (shared, params, port) =>
    shared === null ? postMessage.front(null, params, port) : ringbuf.front(shared, params, port),
  back: (shared, params, port) =>
    shared === null ? postMessage.back(null, params, port) : ringbuf.back(shared, params, port),
};

/** Open the subject that `peer` names. */
export function open(params: PipelinedParams): Promise<OpenSubject> {
  return openPair(import.meta.url, pair, params);
}
