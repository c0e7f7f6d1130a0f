// A guest that only tells when its program could start: its disk is connected then.
import { defineGuest } from 'splitring/guest';

export default defineGuest((guest) => {
  guest.counters.set('connected-at-ms', performance.timeOrigin + performance.now());
});
