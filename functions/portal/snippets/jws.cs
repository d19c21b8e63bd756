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

    static byte[] FromBase64Url(string text) =>
        Convert.FromBase64String(text.Replace('-', '+').Replace('_', '/').PadRight((text.Length + 3) / 4 * 4, '='));

    /// <summary>Whether it verifies. The headers have names in lower case, the body the bytes that arrived.</summary>
    public static async Task<bool> Verify(IReadOnlyDictionary<string, string> headers, byte[] body)
    {
        var parts = headers["jws-signature"].Split('.');
        if (parts.Length != 3 || parts[1] != "") return false;
        var header = Regex.Match(Encoding.UTF8.GetString(FromBase64Url(parts[0])),
            "^\\{\"alg\":\"ALGORITHM\",\"kid\":\"([0-9a-f-]{36})\",\"typ\":\"JWT\"\\}$");
        var payload = Convert.ToBase64String(body).Replace('+', '-').Replace('/', '_').TrimEnd('=');
        return header.Success && await Fits(header.Groups[1].Value, $"{parts[0]}.{payload}", FromBase64Url(parts[2]));
    }
}
