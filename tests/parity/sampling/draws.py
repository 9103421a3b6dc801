"""Prints the numbers that tests/unit/worker/sampling/philox_test.cc expects of seeds and positions.

Philox4x32-10 after the paper (Salmon et al., SC 2011): key = seed, counter = position, each with its low word first; of the four
words the first is the low half and the second the high half of the number's 64 bits, of which the upper 53 count.
"""

MASK = 0xFFFFFFFF


def philox(counter, key):
    x, k = list(counter), list(key)
    for _ in range(10):
        low, high = 0xD2511F53 * x[0], 0xCD9E8D57 * x[2]
        x = [high >> 32 ^ x[1] ^ k[0], high & MASK, low >> 32 ^ x[3] ^ k[1], low & MASK]
        k = [(k[0] + 0x9E3779B9) & MASK, (k[1] + 0xBB67AE85) & MASK]
    return x


def uniform(seed, position):
    words = philox([position & MASK, position >> 32, 0, 0], [seed & MASK, seed >> 32])
    return (words[1] << 32 | words[0]) >> 11


if __name__ == "__main__":
    # The authors' own (Random123, kat_vectors).
    assert philox([0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344], [0xA4093822, 0x299F31D0])[0] == 0xD16CFE09
    for seed, position in [(0, 0), (7, 1), (1 << 32, 1), (0x0123456789ABCDEF, 5), (7, (1 << 32) + 3)]:
        print(f"UniformAt({seed:#x}, {position:#x}) = {uniform(seed, position) / 2**53:.17g}, {(uniform(seed, position) / 2**53).hex()}")
