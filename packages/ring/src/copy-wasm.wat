(module
  (import "m" "m" (memory 1 65536 shared))
  ;; copy(to, from, bytes): within one memory; ranges of 512 bytes and more go to the engine's memmove
  (func (export "copy") (param $to i32) (param $from i32) (param $bytes i32)
    (if (i32.ge_u (local.get $bytes) (i32.const 512))
      (then (memory.copy (local.get $to) (local.get $from) (local.get $bytes)) (return)))
    (block $small
      (loop $wide
        (br_if $small (i32.lt_u (local.get $bytes) (i32.const 64)))
        (v128.store (local.get $to) (v128.load (local.get $from)))
        (v128.store offset=16 (local.get $to) (v128.load offset=16 (local.get $from)))
        (v128.store offset=32 (local.get $to) (v128.load offset=32 (local.get $from)))
        (v128.store offset=48 (local.get $to) (v128.load offset=48 (local.get $from)))
        (local.set $to (i32.add (local.get $to) (i32.const 64)))
        (local.set $from (i32.add (local.get $from) (i32.const 64)))
        (local.set $bytes (i32.sub (local.get $bytes) (i32.const 64)))
        (br $wide)))
    (block $tail
      (loop $narrow
        (br_if $tail (i32.lt_u (local.get $bytes) (i32.const 16)))
        (v128.store (local.get $to) (v128.load (local.get $from)))
        (local.set $to (i32.add (local.get $to) (i32.const 16)))
        (local.set $from (i32.add (local.get $from) (i32.const 16)))
        (local.set $bytes (i32.sub (local.get $bytes) (i32.const 16)))
        (br $narrow)))
    (if (i32.and (local.get $bytes) (i32.const 8))
      (then
        (i64.store (local.get $to) (i64.load (local.get $from)))
        (local.set $to (i32.add (local.get $to) (i32.const 8)))
        (local.set $from (i32.add (local.get $from) (i32.const 8)))))
    (if (i32.and (local.get $bytes) (i32.const 4))
      (then
        (i32.store (local.get $to) (i32.load (local.get $from)))
        (local.set $to (i32.add (local.get $to) (i32.const 4)))
        (local.set $from (i32.add (local.get $from) (i32.const 4)))))
    (if (i32.and (local.get $bytes) (i32.const 2))
      (then
        (i32.store16 (local.get $to) (i32.load16_u (local.get $from)))
        (local.set $to (i32.add (local.get $to) (i32.const 2)))
        (local.set $from (i32.add (local.get $from) (i32.const 2)))))
    (if (i32.and (local.get $bytes) (i32.const 1))
      (then (i32.store8 (local.get $to) (i32.load8_u (local.get $from))))))
  ;; publish(at, value): an atomic store without the price of the Atomics builtin
  (func (export "publish") (param $at i32) (param $value i32)
    (i32.atomic.store (local.get $at) (local.get $value))))
