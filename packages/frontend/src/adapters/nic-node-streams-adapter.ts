// A network card as a Node Duplex of frames. Subpath `@splitring/frontend/nic-node-streams`.
import { Duplex } from 'node:stream';
import type { Nic } from '../net/nic.ts';
import { framesOf, sendFrame } from './nic-streams.ts';

/**
 * One chunk, one frame, both ways; back-pressure both ways. The readable side ends when the card is unplugged.
 *
 * @example
 * nicDuplex(first).pipe(nicDuplex(second)); // a repeater
 */
export function nicDuplex(nic: Nic): Duplex {
  const end = new AbortController();
  const frames = framesOf(nic, end.signal);
  return new Duplex({
    objectMode: true,
    read() {
      frames.next().then(
        ({ done, value }) => this.push(done === true ? null : value),
        (error: Error) => this.destroy(error),
      );
    },
    write(frame: Uint8Array, _encoding, done) {
      sendFrame(nic, frame, end.signal).then(() => done(), done);
    },
    destroy(error, done) {
      end.abort();
      done(error);
    },
  });
}
