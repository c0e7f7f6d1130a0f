// Errors of an uplink's configuration name the place and what to do.
import test from 'ava';
import { checkHost } from '../../../packages/splitring/src/host/config.ts';

const anywhere = 'say where it leads: one of vxlan, listen, connect, to, functionOf';
const wrong: readonly (readonly [string, object, string])[] = [
  ['no way out', {}, `: ${anywhere}`],
  ['a misspelt way', { lisen: '/a.sock' }, `: ${anywhere}`],
  ['two ways', { listen: '/a.sock', connect: '/b.sock' }, `: ${anywhere}`],
  ['a network that is no number', { vxlan: { vni: Number.NaN, remotes: ['10.0.0.1'] } }, '.vxlan.vni: '],
  ['a network beyond 24 bits', { vxlan: { vni: 2 ** 24, remotes: ['10.0.0.1'] } }, '.vxlan.vni: '],
  ['a name for a host', { vxlan: { vni: 1, remotes: ['host'] } }, '.vxlan.remotes.0: write an IPv4 or IPv6 address'],
  ['no host', { vxlan: { vni: 1, remotes: [] } }, '.vxlan.remotes: '],
  ['a share above one', { to: 'lan1', card: { faults: { loss: 2 } } }, '.card.faults.loss: '],
  ['an unknown fault', { listen: '/a', card: { faults: { rules: [{ kind: 'los' }] } } }, '.card.faults.rules.0.kind: '],
  ['too many queues', { listen: '/a', card: { queues: 9 } }, '.card.queues: '],
];
for (const [name, uplink, message] of wrong) {
  test(`checkHost says what is wrong with an uplink with ${name}`, (t) => {
    const config = {
      driverDomains: [{ name: 'net', bridges: ['lan0'], uplinks: [{ bridge: 'lan0', ...uplink } as never] }],
    };
    const error = t.throws(() => checkHost(config), { code: 'BAD_CONFIG' });
    t.true(error?.message.startsWith(`Cannot create the host: driverDomains.0.uplinks.0${message}`), error?.message);
  });
}
