// A guest for tests: sends every frame back, or asks so many times and checks the answers, sending again what is lost.
import { defineGuest } from 'splitring/guest';

const HEADER_BYTES = 14;

export default defineGuest<{ asks: number }>(async (guest) => {
  const nic = guest.nic(0);
  const { asks } = guest.args;
  let [sent, answered, wrong] = [0, 0, 0];
  nic.onFrame = (received) => {
    const frame = received.toBytes();
    if (asks === 0) {
      frame.copyWithin(0, 6, 12);
      frame.set(nic.macAddress, 6);
      nic.send(frame);
    } else if (frame[HEADER_BYTES] === answered) {
      if (frame.subarray(HEADER_BYTES).every((byte) => byte === answered)) answered += 1;
      else wrong += 1;
    } // else an answer that came twice
  };
  while (!guest.signal.aborted && (asks === 0 || answered < asks)) {
    if (asks > 0) {
      const frame = new Uint8Array(1000).fill(answered, HEADER_BYTES);
      frame.fill(255, 0, 6);
      frame.set(nic.macAddress, 6);
      frame.set([0x88, 0xb5], 12);
      if (nic.send(frame)) sent += 1;
    }
    await guest.sleep(asks > 0 ? 10 : 100);
  }
  return { sent, answered, wrong };
});
