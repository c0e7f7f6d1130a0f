// What a driver domain's uplinks become: sockets, cards with their functions, cables; and which of them cannot be.
import { type RoutingId, routingId } from '@splitring/hypervisor';
import test from 'ava';
import { type CheckedUplink, checkHost, type HostConfig } from '../../../packages/splitring/src/host/config.ts';
import { planUplinks } from '../../../packages/splitring/src/host/plan-uplinks.ts';

type Uplinks = NonNullable<NonNullable<HostConfig['driverDomains']>[number]['uplinks']>;
const BRIDGES = ['lan0', 'lan1', 'lan2'];

function checked(uplinks: Uplinks): readonly CheckedUplink[] {
  return checkHost({ driverDomains: [{ name: 'net', bridges: BRIDGES, uplinks }] }).driverDomains[0]?.uplinks ?? [];
}

function plan(uplinks: Uplinks) {
  let device = 3;
  return planUplinks(checked(uplinks), BRIDGES, (): RoutingId => routingId(0, device++, 0));
}

test('planUplinks gives each socket its place in the configuration, beyond its card if it has one', (t) => {
  const { uplinks, cables, functions } = plan([
    { bridge: 'lan0', to: 'lan1' },
    { bridge: 'lan0', listen: '/a.sock' },
    { bridge: 'lan1', connect: '/b.sock', card: { queues: 2 } },
  ]);
  t.deepEqual(
    uplinks.map(({ bridge, index }) => [bridge, index]),
    [
      ['lan0', 1],
      ['lan1-outside-1', 2],
    ],
  );
  t.deepEqual(functions, [routingId(0, 3, 0), routingId(0, 4, 0), routingId(0, 5, 0)]);
  t.is(cables.length, 2);
  t.like(cables[1], { far: { outside: 'lan1-outside-1' } });
  t.is(cables[1]?.near[0]?.queuePairs, 2);
});

test('planUplinks makes further functions of a named card on the same device, wherever they are configured', (t) => {
  const { cables, functions } = plan([
    { bridge: 'lan1', functionOf: 'eth0', queues: 4 },
    { bridge: 'lan0', listen: '/a.sock', card: { name: 'eth0' } },
    { bridge: 'lan2', functionOf: 'eth0' },
  ]);
  t.deepEqual(functions, [routingId(0, 3, 0), routingId(0, 3, 1), routingId(0, 3, 2)]);
  const near = cables[0]?.near ?? [];
  t.deepEqual(
    near.map(({ bridge, queuePairs, name }) => [bridge, queuePairs, name]),
    [
      ['lan0', 1, 'lan0 card 00:03.0'],
      ['lan1', 4, 'lan1 card 00:03.1'],
      ['lan2', 1, 'lan2 card 00:03.2'],
    ],
  );
  t.is(new Set(near.map(({ mac }) => mac.join())).size, 3);
});

test('planUplinks puts cards, both ends of a cable, and sockets into their VLANs', (t) => {
  const { uplinks, cables } = plan([
    { bridge: 'lan0', to: 'lan1', trunk: true },
    { bridge: 'lan2', listen: '/a.sock', vlan: 7 },
    { bridge: 'lan2', connect: '/b.sock', vlan: 8, card: {} },
  ]);
  t.like(cables[0], { near: [{ lane: { isTrunk: true } }], far: { lane: { isTrunk: true } } });
  t.like(cables[1], { near: [{ lane: { vlan: 8 } }] });
  t.deepEqual(
    uplinks.map(({ lane }) => lane),
    [{ vlan: 7 }, {}],
  );
});

const impossible: readonly (readonly [string, Uplinks, string, RegExp])[] = [
  ['a cable to a bridge that is not there', [{ bridge: 'lan0', to: 'lan9' }], 'NO_SUCH_BRIDGE', /there is lan0, lan1/],
  ['a card in a bridge that is not there', [{ bridge: 'lan9', to: 'lan0' }], 'NO_SUCH_BRIDGE', /lan9/],
  ['a cable from a bridge to itself', [{ bridge: 'lan0', to: 'lan0' }], 'BAD_CONFIG', /joined twice/],
  [
    'two cables between two bridges',
    [
      { bridge: 'lan0', to: 'lan1' },
      { bridge: 'lan1', to: 'lan0' },
    ],
    'BAD_CONFIG',
    /joined twice/,
  ],
  [
    'a ring of three bridges',
    [
      { bridge: 'lan0', to: 'lan1' },
      { bridge: 'lan1', to: 'lan2' },
      { bridge: 'lan2', to: 'lan0' },
    ],
    'BAD_CONFIG',
    /lan2 and lan0 are joined twice/,
  ],
  [
    'two functions of one card in one bridge',
    [
      { bridge: 'lan0', listen: '/a.sock', card: { name: 'eth0' } },
      { bridge: 'lan0', functionOf: 'eth0' },
    ],
    'BAD_CONFIG',
    /joined twice/,
  ],
  ['a trunk in one VLAN', [{ bridge: 'lan0', listen: '/a.sock', vlan: 7, trunk: true }], 'BAD_CONFIG', /not both/],
  ['a function of no card', [{ bridge: 'lan0', functionOf: 'eth0' }], 'BAD_CONFIG', /no card "eth0": there is none/],
  [
    'a function of another card',
    [
      { bridge: 'lan0', listen: '/a.sock', card: { name: 'eth1' } },
      { bridge: 'lan1', functionOf: 'eth0' },
    ],
    'BAD_CONFIG',
    /there is eth1/,
  ],
  [
    'two cards of one name',
    [
      { bridge: 'lan0', listen: '/a.sock', card: { name: 'eth0' } },
      { bridge: 'lan1', listen: '/b.sock', card: { name: 'eth0' } },
    ],
    'BAD_CONFIG',
    /two cards are named "eth0"/,
  ],
];
for (const [name, uplinks, code, message] of impossible) {
  test(`planUplinks refuses ${name}`, (t) => {
    t.throws(() => plan(uplinks), { code, message });
  });
}

test('planUplinks refuses a ninth function', (t) => {
  const bridges = Array.from({ length: 9 }, (_, i) => `lan${i}`);
  const others = bridges.slice(1).map((bridge) => ({ bridge, functionOf: 'eth0' }));
  const config = [{ bridge: 'lan0', listen: '/a.sock', card: { name: 'eth0' } }, ...others];
  t.notThrows(() => planUplinks(checked(config.slice(0, 8)), bridges, () => routingId(0, 3, 0)));
  t.throws(() => planUplinks(checked(config), bridges, () => routingId(0, 3, 0)), {
    code: 'BAD_CONFIG',
    message: /no function left/,
  });
});
