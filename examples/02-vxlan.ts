// A guest on a VXLAN network: `node examples/02-vxlan.ts --vni 42 --remote 10.200.0.2 --local 10.200.0.1 --ip 10.42.0.2`.
//
// The other end is a Linux kernel: ip link add vx0 type vxlan id 42 remote 10.200.0.1 dstport 4789 (test/clients/net/
// vxlan.test.ts does it in a network namespace). Read next: docs/architecture.md
import { parseArgs } from 'node:util';
import { createHost } from 'splitring';

process.once('uncaughtException', ({ message }) => {
  console.error(`error: ${message}`); // an option that is not there, an address that is not ours
  process.exit(1);
});
const { values } = parseArgs({
  options: {
    vni: { type: 'string', default: '42' },
    remote: { type: 'string', default: '10.200.0.2' },
    local: { type: 'string', default: '10.200.0.1' },
    ip: { type: 'string', default: '10.42.0.2' },
    capture: { type: 'string' },
  },
});
const vxlan = { vni: Number(values.vni), remotes: [values.remote], localAddress: values.local };
const host = await createHost({
  driverDomains: [
    {
      name: 'net',
      bridges: ['lan0'],
      uplinks: [{ bridge: 'lan0', vxlan }],
      captures: values.capture === undefined ? {} : { lan0: values.capture },
    },
  ],
});
host.onConsole = (domain, line) => console.log(`${domain}: ${line}`);
const program = new URL('./02-endpoint.guest.ts', import.meta.url);
const guest = await host.createDomain({ name: 'web', program, args: { ip: values.ip }, nics: [{ bridge: 'lan0' }] });
process.once('SIGTERM', () => void host.close());
process.once('SIGINT', () => void host.close());
const outcome = await guest.exited;
console.log(`answered ${outcome.result}`);
await host.close();
