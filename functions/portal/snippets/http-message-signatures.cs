using System.Collections.Concurrent;
using System.Security.Cryptography;
using System.Text;
using System.Text.RegularExpressions;

static class Webhooks
{
    static readonly HttpClient Http = new();
    static readonly ConcurrentDictionary<string, string> Pems = new(); // A kid never gets another key.

    static async Task<bool> Fits(string kid, string signed, byte[] signature)
    {
        if (!Pems.TryGetValue(kid, out var pem))
            Pems[kid] = pem = await Http.GetStringAsync($"KEYS_URL/keys/{Guid.Parse(kid)}"); // 404: not your key. It throws.
        var bytes = Encoding.UTF8.GetBytes(signed);
        switch ("ALGORITHM")
        {
            case "RS256":
                using (var rsa = RSA.Create())
                {
                    rsa.ImportFromPem(pem);
                    return rsa.VerifyData(bytes, signature, HashAlgorithmName.SHA256, RSASignaturePadding.Pkcs1);
                }
            case "ES256":
                using (var ecdsa = ECDsa.Create())
                {
                    ecdsa.ImportFromPem(pem);
                    return ecdsa.VerifyData(bytes, signature, HashAlgorithmName.SHA256);
                }
            default: // .NET has no Ed25519: dotnet add package NSec.Cryptography
                var ed25519 = NSec.Cryptography.SignatureAlgorithm.Ed25519;
                var key = NSec.Cryptography.PublicKey.Import(ed25519, Encoding.UTF8.GetBytes(pem), NSec.Cryptography.KeyBlobFormat.PkixPublicKeyText);
                return ed25519.Verify(key, bytes, signature);
        }
    }

    static readonly Dictionary<string, string> Names = new() { ["RS256"] = "rsa-v1_5-sha256", ["ES256"] = "ecdsa-p256-sha256", ["EdDSA"] = "ed25519" };
    static readonly Regex Input = new("^sig=(\\(([^)]*)\\);created=(\\d+);keyid=\"([0-9a-f-]{36})\";alg=\"([^\"]*)\";tag=\"signpost\")$");

    /// <summary>Whether it verifies. Take the URL from your settings, not from what arrives behind a proxy.</summary>
    public static async Task<bool> Verify(IReadOnlyDictionary<string, string> headers, byte[] body, string method = "POST", string url = "ENDPOINT_URL")
    {
        var input = Input.Match(headers["signature-input"]);
        if (!input.Success || input.Groups[5].Value != Names["ALGORITHM"]) return false;
        if (Math.Abs(DateTimeOffset.UtcNow.ToUnixTimeSeconds() - long.Parse(input.Groups[3].Value)) > 300) return false;
        var names = input.Groups[2].Value.Replace("\"", "").Split(' ');
        if (new[] { "@method", "@target-uri", "content-digest", "webhook-id" }.Except(names).Any()) return false;
        string Value(string name) => name switch { "@method" => method, "@target-uri" => url, _ => headers[name] };
        var lines = names.Select(name => $"\"{name}\": {Value(name)}").Append($"\"@signature-params\": {input.Groups[1].Value}");
        var signature = Convert.FromBase64String(headers["signature"]["sig=:".Length..^1]);
        return headers["content-digest"] == $"sha-256=:{Convert.ToBase64String(SHA256.HashData(body))}:"
            && await Fits(input.Groups[4].Value, string.Join('\n', lines), signature);
    }
}
