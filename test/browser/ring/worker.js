// The worker of the browser test: blocks on a channel and answers calls, as a page may not.
import { openChannel, openRpc } from 'sharedarraybuffer-ring';

self.onmessage = ({ data: { numbers, memory, rpc } }) => {
  let sum = 0;
  for (const handle of [numbers, memory]) {
    const { receiver } = openChannel(handle);
    for (let message = receiver.receiveSync(); message !== undefined; message = receiver.receiveSync()) {
      sum += new DataView(message.buffer).getUint32(0, true);
    }
  }
  self.postMessage(sum);
  openRpc(rpc).responder.serveSync((request) => request.map((byte) => byte + 1));
};
