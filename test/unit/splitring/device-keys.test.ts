// What a disk's and a card's configuration becomes in their back ends' directories.
import test from 'ava';
import { checkDomain, type DomainConfig } from '../../../packages/splitring/src/host/config.ts';
import { diskKeys, nicKeys } from '../../../packages/splitring/src/host/device-keys.ts';

const domain = (devices: Partial<DomainConfig>) =>
  checkDomain({ name: 'g', program: 'file:///g.ts', ...devices } as DomainConfig);

test('diskKeys: everything of the disk, in sectors and plain numbers', (t) => {
  const [plain, limited] = domain({
    disks: [
      { name: 'xvda', from: 'vol0' },
      {
        name: 'xvdb',
        from: 'vol0',
        slice: { offset: '1MiB', size: '2MiB' },
        readonly: true,
        removable: true,
        iops: 100,
        rate: '1MiB',
        weight: 3,
      },
    ],
  }).disks.map(diskKeys);
  t.deepEqual(plain, { params: 'vol0', dev: 'xvda', mode: 'w', removable: '0', weight: '1' });
  t.deepEqual(limited, {
    params: 'vol0',
    dev: 'xvdb',
    mode: 'r',
    removable: '1',
    weight: '3',
    slice: '2048,4096',
    'limit-iops': '100',
    'limit-bytes-per-second': '1048576',
  });
});

test('nicKeys: rates as bytes in 50 ms', (t) => {
  const [plain, limited] = domain({
    nics: [{ bridge: 'lan0' }, { bridge: 'lan0', vlan: 7, rate: 1_000_000, groupRate: '1KiB' }],
  }).nics.map(nicKeys);
  t.deepEqual(plain, { bridge: 'lan0' });
  t.deepEqual(limited, { bridge: 'lan0', vlan: '7', rate: '50000,50000', 'group-rate': '52,50000' });
});

const refused: [string, Partial<DomainConfig>, RegExp][] = [
  ['a VLAN of all or none', { nics: [{ bridge: 'lan0', vlan: 0 }] }, /nics\.0\.vlan/],
  ['a VLAN beyond the last', { nics: [{ bridge: 'lan0', vlan: 4095 }] }, /nics\.0\.vlan/],
  ['no requests a second', { disks: [{ name: 'xvda', from: 'vol0', iops: 0 }] }, /disks\.0\.iops/],
  ['no bytes a second', { disks: [{ name: 'xvda', from: 'vol0', rate: 0 }] }, /disks\.0\.rate/],
  ['no weight', { disks: [{ name: 'xvda', from: 'vol0', weight: 0 }] }, /disks\.0\.weight/],
];
for (const [what, devices, message] of refused) {
  test(`checkDomain refuses ${what}`, (t) => {
    t.throws(() => domain(devices), { code: 'BAD_CONFIG', message });
  });
}
