// The slots of the network rings, written field by field and read in whole words, and the other way round.
import {
  netifRxRequest,
  netifRxRequestWords,
  netifRxResponse,
  netifRxResponseWords,
  netifTxRequest,
  netifTxRequestWords,
  netifTxResponse,
  netifTxResponseWords,
} from '@splitring/hypervisor/io';
import test from 'ava';

const slot = () => new DataView(new ArrayBuffer(12));

test('netifTxRequestWords and netifRxResponseWords hold the fields where the header puts them', (t) => {
  const view = slot();
  netifTxRequest.write(view, 0, { gref: 0xfedc_ba98, offset: 0xf001, flags: 0x8002, id: 0x9003, size: 0xa004 });
  t.is(netifTxRequestWords.get.gref(view, 0), 0xfedc_ba98);
  t.is(netifTxRequestWords.get.offsetFlags(view, 0), 0xf001 | (0x8002 << 16) | 0);
  t.is(netifTxRequestWords.get.idSize(view, 0), 0x9003 | (0xa004 << 16) | 0);
  netifRxResponse.write(view, 0, { id: 0xffff, offset: 14, flags: 3, status: -2 });
  t.is(netifRxResponseWords.get.idOffset(view, 0), 0xffff | (14 << 16));
  t.is(netifRxResponseWords.get.flagsStatus(view, 0) >> 16, -2);
  t.is(netifRxResponseWords.get.flagsStatus(view, 0) & 0xffff, 3);
});

test('netifTxResponseWords and netifRxRequestWords write what the fields read', (t) => {
  const view = slot();
  netifTxResponseWords.set.idStatus(view, 0, 0xabcd | (-1 << 16));
  t.deepEqual(netifTxResponse.read(view, 0, netifTxResponse.create()), { id: 0xabcd, status: -1 });
  netifRxRequestWords.set.idPad(view, 0, 255);
  netifRxRequestWords.set.gref(view, 0, 0xffff_ffff);
  t.deepEqual(netifRxRequest.read(view, 0, netifRxRequest.create()), { id: 255, pad: 0, gref: 0xffff_ffff });
  for (const [words, fields] of [
    [netifTxRequestWords, netifTxRequest],
    [netifTxResponseWords, netifTxResponse],
    [netifRxRequestWords, netifRxRequest],
    [netifRxResponseWords, netifRxResponse],
  ] as const) {
    t.is(words.sizeof, fields.sizeof);
  }
});
